"""The schedule of a run: which fault begins when, at whom, for how long; the same for the same seed."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

SERVICES: Final = ("orders", "inventory", "payments", "gateway")
OWNERS: Final = ("orders", "inventory", "payments")
REPLICAS: Final = 2
PROCESSES: Final = tuple(f"{service}-{number}" for service in SERVICES for number in range(REPLICAS))
NOBODY: Final = ("-",)

WARM_UP_S: Final = 3.0
GAP_S: Final = 2.1
"""Between the beginnings of two faults on average: many meet the trouble that the last one left."""
LONG_RUN_S: Final = 300.0
LONG_RUN_GAP_S: Final = 5.0
"""In a run that has the time: orders shall also get through, or nothing is there to be lost."""
LONG_EVERY: Final = 4
"""So many times a kind comes, once it lasts long, where it may."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: what it is called in the fault matrix, whom it can hit, how long it lasts.

    `long_s` is for runs that have the time for it.
    """

    fault: str
    targets: tuple[str, ...]
    lasts_s: tuple[float, float] = (0.0, 0.0)
    long_s: tuple[float, float] | None = None


KINDS: Final[Mapping[str, Kind]] = {
    "kill one process": Kind("F-01", PROCESSES),
    "pause one process": Kind("F-03", PROCESSES, (1.0, 8.0), (15.0, 45.0)),
    "rolling restart": Kind("F-04", SERVICES),
    "kill all of a service": Kind("F-05", SERVICES),
    "kill every service": Kind("F-05", NOBODY),
    "start before what is needed": Kind("F-06", OWNERS, (3.0, 6.0)),
    "end one connection": Kind("F-10", OWNERS),
    "end all connections": Kind("F-10", OWNERS),
    "kill the database": Kind("F-11", NOBODY),
    "lose the answer to a commit": Kind("F-12", OWNERS, (3.0, 6.0)),
    "lose a commit": Kind("F-13", OWNERS, (3.0, 6.0)),
    "silent database": Kind("F-14", OWNERS, (3.0, 7.0), (10.0, 30.0)),
    "slow database": Kind("F-14", OWNERS, (3.0, 6.0)),
    "trickling database": Kind("F-14", OWNERS, (3.0, 6.0)),
    "locked table": Kind(
        "F-15", ("orders.orders", "inventory.stock", "payments.intents"), (2.0, 6.0), (8.0, 10.0)
    ),
    "locked rows": Kind("F-15", ("orders.checkouts", "inventory.stock", "payments.attempts"), (2.0, 6.0)),
    "kill the broker": Kind("F-30", NOBODY),
    "pause the broker": Kind("F-31", NOBODY, (3.0, 7.0), (15.0, 60.0)),
    "broker away": Kind("F-32", NOBODY, (5.0, 8.0), (60.0, 120.0)),
    "lose the answer to a send": Kind("F-33", NOBODY, (3.0, 6.0)),
    "rebalance storm": Kind("F-36", OWNERS, (4.0, 8.0)),
    "hear everything again": Kind("F-37", OWNERS),
    "copies of records": Kind("F-38", NOBODY),
    "gateway misbehaves": Kind("F-50", NOBODY, (3.0, 8.0)),
    "gateway down": Kind("F-50", NOBODY, (3.0, 8.0)),
    "clients vanish": Kind("F-53", NOBODY, (2.0, 5.0)),
    "poison records": Kind("4.5", OWNERS),
    "keys that fail": Kind(
        "EVT-9", ("inventory.hold_orders.order_id", "payments.intents.subject_id"), (2.0, 5.0)
    ),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come, seconds from the beginning of the run; `chance` seeds what it decides itself."""

    number: int
    at_s: float
    kind: str
    target: str
    lasts_s: float
    chance: int

    @property
    def fault(self) -> str:
        return KINDS[self.kind].fault


def schedule(seed: int, seconds: float) -> tuple[Planned, ...]:
    """The faults of a run that breaks things for so long; every kind comes round before one comes again."""
    chance = random.Random(seed)
    kinds, turns = _dealt(chance), _long_turns(chance, seconds)
    gap_s = LONG_RUN_GAP_S if seconds >= LONG_RUN_S else GAP_S
    count = max(1, int((seconds - WARM_UP_S) / gap_s))
    planned = []
    for number, name in zip(range(count), kinds, strict=False):
        begins_s = WARM_UP_S + (number + chance.random()) * gap_s
        is_long = number // len(KINDS) % LONG_EVERY == turns.get(name)
        planned.append(_planned(chance, number, name, begins_s, seconds, is_long=is_long))
    return tuple(planned)


def _dealt(chance: random.Random) -> Iterator[str]:
    while True:
        deck = sorted(KINDS)
        chance.shuffle(deck)
        yield from deck


def _long_turns(chance: random.Random, seconds: float) -> dict[str, int]:
    """Which of its turns is the long one, by kind; none in a run that has no time for it."""
    turns = {name: chance.randrange(LONG_EVERY) for name in sorted(KINDS) if KINDS[name].long_s}
    return turns if seconds >= LONG_RUN_S else {}


def _planned(
    chance: random.Random, number: int, name: str, begins_s: float, seconds: float, *, is_long: bool
) -> Planned:
    """None outlasts the run."""
    kind = KINDS[name]
    target = chance.choice(kind.targets)
    lasts_s = chance.uniform(*(kind.long_s if is_long and kind.long_s else kind.lasts_s))
    lasts_s = min(lasts_s, max(0.0, seconds - begins_s))
    return Planned(number, round(begins_s, 2), name, target, round(lasts_s, 2), chance.getrandbits(32))
