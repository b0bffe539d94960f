"""Latencies: recorded in microseconds with three digits, told in milliseconds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

LONGEST_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, in milliseconds; `count` samples."""

    p50: float
    p99: float
    p999: float
    longest: float
    count: int

    def __str__(self) -> str:
        return f"{self.p50:.1f} / {self.p99:.1f}"


NOTHING = Spread(0.0, 0.0, 0.0, 0.0, 0)


def spread(seconds: Iterable[float]) -> Spread:
    """Percentiles of these durations."""
    histogram = HdrHistogram(1, LONGEST_US, 3)
    for one in seconds:
        histogram.record_value(min(LONGEST_US, max(1, round(one * 1e6))))
    if not histogram.get_total_count():
        return NOTHING
    p50, p99, p999 = (histogram.get_value_at_percentile(percentile) / 1e3 for percentile in (50, 99, 99.9))
    return Spread(p50, p99, p999, histogram.get_max_value() / 1e3, histogram.get_total_count())


def buckets(
    sizes: Sequence[int], edges: Sequence[int] = (1, 2, 5, 10, 20, 50, 100, 200, 500)
) -> dict[str, int]:
    """How many of these sizes fall up to each edge and above the one before."""
    filled = dict.fromkeys((f"<={edge}" for edge in edges), 0)
    for size in sizes:
        edge = next((edge for edge in edges if size <= edge), edges[-1])
        filled[f"<={edge}"] += 1
    return {name: count for name, count in filled.items() if count}
