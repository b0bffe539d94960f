"""What a run must have done to mean anything: most of its faults, enough orders, enough trouble."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from tests.chaos.schedule import LONG_RUN_S, Planned

DONE: Final = 0.9
"""Of the planned faults: what one fault has taken away another may look for in vain."""
CONFIRMED: Final = 0.2
"""Of the customers who could come: half of the time something is away."""
SOLD_OUT: Final = "sold out, of checkouts"
REPEATED: Final = "asked more than once, of keys"
UNCLEAR: Final = "unclear outcome, of writes"
LATE: Final = "paid late, of paid"
TWICE: Final = "two attempts paid, of paid"
SHARES: Final = {SOLD_OUT: 0.05, REPEATED: 0.10, UNCLEAR: 0.02, TWICE: 0.005}
"""In a short run nobody has the time to pay late."""
LONG_SHARES: Final = {SOLD_OUT: 0.10, REPEATED: 0.10, UNCLEAR: 0.05, LATE: 0.02, TWICE: 0.01}


@dataclass(frozen=True, slots=True)
class Needs:
    """The least of everything; a run with less is red, for it has shown too little."""

    faults: int = 0
    kinds: int = 0
    orders: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)


def needs_of(planned: Sequence[Planned], seconds: float, customers_per_s: float) -> Needs:
    """Nine in ten of the planned faults, every planned kind, and floors for orders and tension."""
    shares = LONG_SHARES if seconds >= LONG_RUN_S else SHARES
    kinds = len({one.kind for one in planned})
    return Needs(ceil(DONE * len(planned)), kinds, int(CONFIRMED * seconds * customers_per_s), shares)
