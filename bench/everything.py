"""All measurements, one after the other, each in a process and on servers of its own."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One command and the minutes it takes on two quiet cores."""

    arguments: tuple[str, ...]
    minutes: int


MEASUREMENTS: Final = (
    Measurement(("limits",), 1),
    Measurement(("counts",), 2),
    Measurement(("pipeline",), 12),
    Measurement(("pipeline", "--http"), 4),
    Measurement(("relay",), 1),
    Measurement(("gates",), 22),
    Measurement(("rollup",), 7),
    Measurement(("memory",), 1),
    Measurement(("restart",), 2),
    Measurement(("poison",), 5),
    Measurement(("backlog",), 18),
)

Say = Callable[[str], None]


def measure(say: Say, measurements: Sequence[Measurement] = MEASUREMENTS) -> int:
    """Run them all, also after one that missed a gate; returns how many did not end well."""
    minutes = sum(one.minutes for one in measurements)
    say(f"{len(measurements)} measurements, about {minutes} minutes on two quiet cores")
    outcomes = [_run(say, one, f"{n} of {len(measurements)}") for n, one in enumerate(measurements, 1)]
    for one, outcome in zip(measurements, outcomes, strict=True):
        say(f"{' '.join(one.arguments):<16} {outcome}")
    return sum("met" not in outcome for outcome in outcomes)


def _run(say: Say, one: Measurement, place: str) -> str:
    say(f"\n{place}: bench {' '.join(one.arguments)}, about {one.minutes} min")
    began = monotonic()
    done = subprocess.run([sys.executable, "-m", "bench", *one.arguments], cwd=ROOT, check=False)  # noqa: S603 - a list of our own
    took = f"{(monotonic() - began) / 60:.1f} min"
    match done.returncode:
        case 0:
            return f"met, {took}"
        case 1:
            return f"MISSED or failed, see above, {took}"
        case code:
            return f"ENDED with {code}, {took}"
