"""Back-pressure: work that would tell more is refused while what was told is not published fast enough."""

import time
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from services.chassis.errors import Problem
from services.chassis.outbox_backlog import Backlog

RETRY_AFTER_S: Final = "5"
STALE_S: Final = 30.0
"""A measurement older than this says nothing any more: the database that it asks is away or crawling."""
REFUSED: Final = Counter(
    "kb_back_pressure_refused_total", "Requests refused because of the outbox backlog.", ["limit"]
)
LIMITS: Final = ("rows", "age")


@dataclass(slots=True)
class Pressure:
    """The last measurement of this service's outbox, about a second old, and how much of it is too much."""

    most_rows: int
    most_age_s: float
    backlog: Backlog | None = None
    measured_at: float = 0.0
    """On the monotonic clock."""

    def __post_init__(self) -> None:
        """A counter that began with the first refusal would hide that one."""
        for limit in LIMITS:
            REFUSED.labels(limit)

    def note(self, backlog: Backlog) -> None:
        """What was measured just now."""
        self.backlog, self.measured_at = backlog, time.monotonic()

    def keep(self) -> None:
        """Measuring took too long to end, which is no sign of less: what was known goes on to be so."""
        self.measured_at = time.monotonic()

    @property
    def over(self) -> str | None:
        """The limit that is exceeded, `rows` or `age`; None for none, or when nothing recent is known."""
        if self.backlog is None or time.monotonic() - self.measured_at > STALE_S:
            return None
        if self.backlog.depth > self.most_rows:
            return "rows"
        return "age" if self.backlog.oldest_age_s > self.most_age_s else None

    def check(self) -> None:
        """Raise 503 `OUTBOX_BACKLOG` while a limit is exceeded; nothing was decided, so ask again later."""
        if (limit := self.over) is None:
            return
        REFUSED.labels(limit).inc()
        raise Problem(
            503,
            "OUTBOX_BACKLOG",
            "Too much waits to be published. Nothing was changed: send the same request again.",
            headers={"Retry-After": RETRY_AFTER_S},
        )
