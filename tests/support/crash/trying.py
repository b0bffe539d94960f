"""Trying one piece of work: undisturbed, then ended at every step and done again; one effect each time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.chassis.db import Database
from services.chassis.errors import is_transient
from tests.support.crash.fate import Blow, Fate, MortalDatabase, Way, blows
from tests.support.crash.ground import Ground, Tables, differences, seen, shared

LIVES_AT_MOST = 3
WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Life:
    """One process while it lives."""

    db: Database
    fate: Fate


class Work(Protocol):
    """Something a service does when it is asked: by a record, a request or the clock."""

    def afresh(self) -> None:
        """Nobody has asked yet."""

    async def do(self, life: Life) -> None:
        """Do what is asked and not known to be done; called again in the next life."""

    def ask_again(self) -> None:
        """All of it is asked for once more although it is done: a copy, a retry, the next round."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """How to bring about the state and the work."""

    prepare: Callable[[Any], Awaitable[Work]]
    differing: frozenset[str] = frozenset()
    """Tables and "table.column"s that a repetition may change."""
    idle: bool = False
    """It writes nothing here: an alarm, or nothing is due. Otherwise doing nothing is wrong."""


@dataclass(slots=True)
class Tried:
    """What was tried, and what went wrong."""

    steps: list[str]
    runs: int = 0
    wrong: list[str] = field(default_factory=list)


async def try_everywhere(
    ground: Ground, dsn: str, work: Work, differing: frozenset[str] = frozenset(), *, idle: bool = False
) -> Tried:
    """Compare every disturbed run with the undisturbed one: once means the same tables."""
    trial = Trial(ground, dsn, work, differing)
    await ground.keep()
    before = await ground.read(differing)
    steps, once = await trial.undisturbed(times=1)
    _, twice = await trial.undisturbed(times=2)
    known = shared([once, twice])
    expected, tried = seen(once, known), Tried(steps)
    if idle is _differ(before, once):
        tried.wrong.append("it writes something here" if idle else "it does nothing here")
    tried.wrong += [f"asked twice: {one}" for one in differences(expected, seen(twice, known))]
    for blow in blows(steps):
        tried.runs += 1
        fell, found = await trial.disturbed(blow)
        where = f"{blow.way.value} {blow.when.value} step {blow.step} ({steps[blow.step]})"
        if not fell:
            tried.wrong.append(f"{where}: this time it never came to that step")
        tried.wrong += [
            f"{where}, {what}: {one}"
            for what, rows in found.items()
            for one in differences(expected, seen(rows, known))
        ]
    return tried


def _differ(before: Tables, after: Tables) -> bool:
    """Whether anything but having heard it was written."""
    return any(before[name] != after[name] for name in before if name != "inbox")


@dataclass(frozen=True, slots=True)
class Trial:
    """Runs of one piece of work, each from the same state."""

    ground: Ground
    dsn: str
    work: Work
    differing: frozenset[str]

    async def undisturbed(self, *, times: int) -> tuple[list[str], Tables]:
        """The steps of the last time, and what is in the tables afterwards."""
        await self._begin()
        fate = Fate()
        for _ in range(times):
            fate = Fate()
            assert await self._live(fate), "the work fails by itself"
            self.work.ask_again()
        return fate.steps, await self.ground.read(self.differing)

    async def disturbed(self, blow: Blow) -> tuple[bool, dict[str, Tables]]:
        """Whether the blow fell; the tables once the next life has done it, and once it was asked again."""
        await self._begin()
        fate = Fate(blow)
        await self._live(fate)
        await self._until_done()
        done = {"done again": await self.ground.read(self.differing)}
        if blow.way is Way.KILLED:
            self.work.ask_again()
            await self._until_done()
            done["and asked for again"] = await self.ground.read(self.differing)
        return fate.struck, done

    async def _begin(self) -> None:
        await self.ground.until_alone()
        await self.ground.put_back()
        self.work.afresh()

    async def _until_done(self) -> None:
        for _ in range(LIVES_AT_MOST):
            await self.ground.until_alone()
            if await self._live(Fate()):
                return
        raise AssertionError("the work is never done again")

    async def _live(self, fate: Fate) -> bool:
        """One process from its start; whether it did what was asked. It is killed in the end in any case."""
        db = MortalDatabase(self.dsn, fate)
        doing = asyncio.create_task(self.work.do(Life(db, fate)))
        dying = asyncio.create_task(fate.dead.wait())
        try:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            dying.cancel()
            doing.cancel()
            await asyncio.wait({doing})
            await db.end()
        if fate.dead.is_set() or doing.cancelled():
            return False
        if (error := doing.exception()) is None:
            return True
        if fate.struck and is_transient(error):
            return False
        raise error
