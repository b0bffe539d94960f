"""How fast orders that waited for the broker are worked off, measured alike after an outage and a moment.

Only orders that had waited count, from the first event that was heard again to the last order finalized. So
both begin with everything placed and nothing of it told, and what comes in meanwhile adds nothing.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import asyncpg

from bench.ground import Ground
from bench.load import WARM, AuditFailedError, Contender, NotFinishedError
from bench.ours.contender import Services
from bench.wire import clock

WITHIN_S: Final = 300.0
LOOKS_EVERY_S: Final = 0.01
FIRST: Final = ("inventory", "order.placed")
"""Heard again, it is the first sign of the broker's return that is seen from here."""
PLACED: Final = "select count(*) from checkouts"


def rate(finalized: Mapping[int, float], waited: Collection[int], first: float) -> float:
    """Orders per second, of those that had waited and were finalized after `first`; 0 while one is not."""
    if not all(number in finalized for number in waited):
        return 0.0
    after = [finalized[number] for number in waited if finalized[number] > first]
    return len(after) / (max(after) - first) if after else 0.0


@contextmanager
def no_broker(ground: Ground) -> Iterator[None]:
    """SIGSTOP: connections stay open and nobody answers, which is the worse way to be away."""
    assert ground.broker_pid is not None, "there is one"
    os.kill(ground.broker_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(ground.broker_pid, signal.SIGCONT)


async def after_a_moment(ground: Ground, orders: int) -> float:
    """So many orders, with the broker away only while they are placed: their rate.

    Raises NotFinishedError or AuditFailedError for a round whose rate is worth nothing.
    """
    services, total = Services(ground), WARM + orders
    await services.prepare(total)
    await ground.settle()
    await services.start()
    try:
        services.submit(range(WARM))
        await _expect(services, lambda: services.progress.settled >= WARM)
        found = await _let_go(services, range(WARM, total))
    finally:
        await services.finish()
    if wrong := await services.audit(total):
        raise AuditFailedError(f"{services.name}: " + "; ".join(wrong))
    return found


async def _let_go(services: Services, numbers: range) -> float:
    heard, progress = services.heard, services.progress
    before = heard[FIRST]
    with no_broker(services.ground):
        services.submit(numbers)
        await _placed(services, numbers.stop)
    await _expect(services, lambda: heard[FIRST] > before)
    first = clock()
    await _expect(services, lambda: progress.settled >= numbers.stop)
    return rate(progress.finalized, numbers, first)


async def _placed(services: Services, orders: int) -> None:
    """Return once there are so many: nobody hears of them meanwhile."""
    connection = await asyncpg.connect(services.databases["orders"])
    try:
        async with asyncio.timeout(WITHIN_S):
            while await connection.fetchval(PLACED) < orders:  # noqa: ASYNC110 - they are placed elsewhere
                await asyncio.sleep(LOOKS_EVERY_S)
    finally:
        await connection.close()


async def _expect(load: Contender, reached: Callable[[], bool]) -> None:
    if not await until(load, reached):
        raise NotFinishedError(f"{load.name}: {load.progress.settled} settled in {WITHIN_S:g} s")


async def until(load: Contender, reached: Callable[[], bool]) -> bool:
    """Whether it came true in time; raises when a process has ended or a customer met something odd."""
    give_up = clock() + WITHIN_S
    while not reached():
        if clock() > give_up:
            return False
        assert load.is_alive(), "a process has ended"
        await asyncio.sleep(LOOKS_EVERY_S)
    return True
