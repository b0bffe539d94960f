"""Natural batching of requests: whoever waits while a transaction runs shares the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.chassis.errors import AWAY, Problem
from services.chassis.telemetry import current_traceparent

I = TypeVar("I")  # noqa: E741 - an item
O = TypeVar("O")  # noqa: E741 - its outcome

MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Member(Generic[I]):
    """One request in a batch, with the trace it belongs to (a batch has no trace of its own)."""

    item: I
    traceparent: str = field(default_factory=current_traceparent)


RunMany = Callable[[Sequence[Member[I]]], Awaitable[Sequence[O | Exception]]]


class Coalescer(Generic[I, O]):
    """Hands what has arrived to `run_many`, at most `most` at once, batch after batch; never waits for more.

    `run_many` returns one outcome per member, in order; an exception among them is raised to that member
    alone. When `run_many` itself raises, its transaction is gone and each member is run by itself, so that
    one bad member fails alone. A database that is away is no member's fault: the batch is run once more, then
    all fail together, because two hundred attempts in a row would hold up everybody who comes meanwhile.
    A caller that goes away leaves its member in the batch: its effect may happen.
    """

    def __init__(self, run_many: RunMany[I, O], most: int = 200) -> None:
        self._run_many = run_many
        self._most = most
        self._waiting: deque[tuple[Member[I], asyncio.Future[O]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: I) -> O:
        """The outcome of this item; raises what its run raised, or 503 when 10,000 wait already."""
        if len(self._waiting) >= MOST_WAITING:
            raise Problem(503, "SERVICE_UNAVAILABLE", "Too many requests wait.", headers={"Retry-After": "1"})
        done: asyncio.Future[O] = asyncio.get_running_loop().create_future()
        self._waiting.append((Member(item), done))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run_all())
        return await done

    async def _run_all(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), self._most)
            batch = [self._waiting.popleft() for _ in range(count)]
            batch = [(member, done) for member, done in batch if not done.cancelled()]
            if batch:
                await self._run(batch)

    async def _run(self, batch: Sequence[tuple[Member[I], "asyncio.Future[O]"]]) -> None:
        outcomes = await self._outcomes([member for member, _ in batch])
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            if done.done():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    async def _outcomes(self, members: Sequence[Member[I]], tries: int = 2) -> Sequence[O | Exception]:
        try:
            outcomes = await self._run_many(members)
            assert len(outcomes) == len(members), "one outcome per member"
        except AWAY as error:
            return await self._outcomes(members, tries - 1) if tries > 1 else [error for _ in members]
        except Exception as error:  # noqa: BLE001 - handed to the member it belongs to
            if len(members) == 1:
                return [error]
            return [outcome for one in members for outcome in await self._outcomes([one])]
        return outcomes
