"""How long what is parked waits before it is tried again."""

import random
from typing import Final

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 600.0


def pause_s(failures: int) -> float:
    """After so many failures in a row: a second or two, doubled each time, at most 10 min, jittered."""
    longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
