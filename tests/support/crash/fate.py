"""How far a process gets: its steps are counted, and at one of them it dies or loses its database."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, TypeVar

import asyncpg

from services.chassis.db import Database

T = TypeVar("T")
SHORT = 60


class Way(Enum):
    """What happens: the whole process is gone, or its connection is and the process tries to go on."""

    KILLED = "killed"
    CUT = "cut off"


class When(Enum):
    """Before a step it never happens; after it, it happened and nobody heard of it."""

    BEFORE = "before"
    AFTER = "after"


class Blow(NamedTuple):
    """One point of one run, `step` counted from 0."""

    step: int
    when: When
    way: Way


class Killed(asyncio.CancelledError):
    """The process is no more: nothing that handles exceptions may run on."""


@dataclass
class Fate:
    """One process: what it has done so far, and when it ends."""

    blow: Blow | None = None
    steps: list[str] = field(default_factory=list)
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    struck: bool = False

    async def take(
        self, name: str, step: Callable[[], Awaitable[T]], lose: Callable[[], Exception] | None = None
    ) -> T:
        """Do one step, unless the end comes before it; `lose` cuts the connection and says how that looks."""
        if self.dead.is_set():
            raise Killed
        place = len(self.steps)
        self.steps.append(" ".join(name.split())[:SHORT])
        if self._meets(place, When.BEFORE):
            self._strike(lose)
        answer = await step()
        if self._meets(place, When.AFTER):
            self._strike(lose)
        return answer

    def _meets(self, place: int, when: When) -> bool:
        return self.blow is not None and (self.blow.step, self.blow.when) == (place, when)

    def _strike(self, lose: Callable[[], Exception] | None) -> None:
        assert self.blow is not None
        self.struck = True
        lost = lose() if lose is not None else None
        if self.blow.way is Way.CUT and lost is not None:
            raise lost
        self.dead.set()
        raise Killed


def blows(steps: list[str]) -> list[Blow]:
    """Before every step and after every one that is final, in both ways: all that can be told apart.

    After a statement is before the next one, as far as the database can tell; a commit, a send or a commit of
    offsets may have happened or not.
    """
    return [
        Blow(place, when, way)
        for place, step in enumerate(steps)
        for when in ((When.BEFORE, When.AFTER) if is_final(step) else (When.BEFORE,))
        for way in Way
        if way is Way.KILLED or not step.startswith("(")
    ]


def is_final(step: str) -> bool:
    """Whether others see it: a commit; steps outside the database stand in brackets."""
    return step.startswith(("COMMIT", "("))


class Mortal(asyncpg.Connection):
    """A connection whose every statement is a step of its process."""

    fate: Fate

    def _lose(self) -> Exception:
        self.terminate()
        return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def _take(self, query: str, statement: Callable[[], Awaitable[T]]) -> T:
        return await self.fate.take(query, statement, self._lose)

    async def execute(self, query: str, *args: Any, **said: Any) -> str:  # noqa: ANN401 - as the driver has it
        return await self._take(query, partial(super().execute, query, *args, **said))

    async def fetch(self, query: str, *args: Any, **said: Any) -> Any:  # noqa: ANN401
        return await self._take(query, partial(super().fetch, query, *args, **said))

    async def fetchrow(self, query: str, *args: Any, **said: Any) -> Any:  # noqa: ANN401
        return await self._take(query, partial(super().fetchrow, query, *args, **said))

    async def fetchval(self, query: str, *args: Any, **said: Any) -> Any:  # noqa: ANN401
        return await self._take(query, partial(super().fetchval, query, *args, **said))


def mortal(fate: Fate) -> type[Mortal]:
    """Connections of this process."""
    return type("MortalConnection", (Mortal,), {"fate": fate})


class MortalDatabase(Database):
    """The real pool, over connections that share the fate of their process."""

    def __init__(self, dsn: str, fate: Fate) -> None:
        super().__init__(dsn, name="mortal", size=6)
        self.fate = fate

    async def _make_pool(self) -> asyncpg.Pool:
        pool = await super()._make_pool()
        # It opens none before it is asked for one.
        pool._connection_class = mortal(self.fate)  # type: ignore[attr-defined] # noqa: SLF001
        return pool

    async def end(self) -> None:
        """As the kernel ends a process: sockets are closed, nobody says goodbye."""
        if self._pool is not None:
            self._pool.terminate()
