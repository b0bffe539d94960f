"""While things break: what must hold at any moment of one database is asked of it every second."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import asyncpg

from infra.audit import Report
from infra.audit.always import judge_now, of_a_moment
from infra.audit.promises import PROMISES
from infra.audit.world import connections
from tests.chaos.checker import Checked

EVERY_S: Final = 1.0
LOOK_WITHIN_S: Final = 5.0
"""Who is kept waiting longer, by a lock or by a server that is starting, has not looked."""
MOST_TOLD: Final = 1_000
AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""The last one is how the driver says that an answer came after nobody waited for it any more."""


@dataclass(slots=True)
class Looks:
    """How often each database was looked at, how often that was not possible, and what was wrong."""

    begun: float = field(default_factory=monotonic)
    done: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    examined: Counter[str] = field(default_factory=Counter)
    wrong: dict[tuple[str, str, str], float] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    over: bool = False

    def note(self, service: str, found: Report) -> None:
        """What is wrong is told once, with the moment when it was first seen."""
        self.done[service] += 1
        for one in found.judged:
            self.examined[one.promise.id] += one.finding.examined
            for violation in one.finding.violations:
                for thing in violation.ids:
                    if len(self.wrong) < MOST_TOLD:
                        key = (one.promise.id, violation.what, thing)
                        self.wrong.setdefault(key, monotonic() - self.begun)

    def checked(self) -> Checked:
        """Promises that were never looked at are named; databases that were away are only counted."""
        wrong = [f"{id_}: {what}: {thing}, {at:.0f} s" for (id_, what, thing), at in self.wrong.items()]
        never = [f"{id_} was never looked at" for id_ in sorted(_promises() - set(+self.examined))]
        away = ", ".join(f"{service} {number}" for service, number in sorted(self.skipped.items()))
        says = f"What must hold at any moment held every second [away: {away or 'never'}]"
        violations = (*wrong, *never, *self.stopped)
        return Checked("ALWAYS", says, self.done.total(), violations)


def _promises() -> set[str]:
    return {one.id for one in PROMISES if of_a_moment(one)}


def _services() -> set[str]:
    """Those whose database some promise of a moment is about."""
    return {service for one in PROMISES if of_a_moment(one) for service in one.needs}


@asynccontextmanager
async def watching(databases: Mapping[str, str]) -> AsyncIterator[Looks]:
    """Looks at these databases (service -> DSN) until the block is left."""
    looks = Looks()
    tasks = [asyncio.create_task(_watch(name, databases[name], looks)) for name in sorted(_services())]
    try:
        yield looks
    finally:
        looks.over = True  # a connection that breaks while it is cancelled tells of nothing but that it broke
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        # Nothing but the end of the block may end a watch.
        looks.stopped += [f"the watch ended with {end!r}" for end in ends if isinstance(end, Exception)]


async def _watch(service: str, dsn: str, looks: Looks) -> None:
    """A database that cannot be asked is counted and asked again, over a new connection."""
    while not looks.over:
        try:
            async with connections({service: dsn}) as opened:
                while not looks.over:
                    await _look(service, opened, looks)
        except AWAY:
            looks.skipped[service] += 1
        await asyncio.sleep(EVERY_S)


async def _look(service: str, opened: Mapping[str, asyncpg.Connection], looks: Looks) -> None:
    """One look and the rest of its second; three times as long a rest as the look, once that is more."""
    began = monotonic()
    async with asyncio.timeout(LOOK_WITHIN_S):
        found = await judge_now(opened)
    looks.note(service, found)
    took_s = monotonic() - began
    await asyncio.sleep(max(EVERY_S - took_s, 3 * took_s))  # what watches shall not be the load
