"""The load: orders are submitted by number, closed loop or on a schedule, and followed to their end."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench import machine
from bench.ground import Ground
from bench.latency import NOTHING, Spread, spread
from bench.wire import clock

WARM = 100
"""Orders before the first that counts, in an open loop; so many are the numbers that are taken."""
LATE_S = 0.005
LATE_SHARE = 0.01
SEED = 20_26
LOOKS_EVERY_S = 1.0


@dataclass(slots=True)
class Progress:
    """How far the submitted orders have come; the contender writes, the driver reads."""

    finalized: dict[int, float] = field(default_factory=dict)
    """By number: when its order was committed, on the machine's monotonic clock."""
    settled: int = 0
    """Orders whose last effect is committed too (the units are sold)."""
    asked: dict[int, float] = field(default_factory=dict)
    """By number, where orders enter by HTTP: when the request was written."""
    answered: dict[int, float] = field(default_factory=dict)
    """By number, where orders enter by HTTP: when its answer had been read."""
    asked_again: int = 0
    """Requests repeated because the service was too busy."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Contender(Protocol):
    """One way of working, set up for the unit of work; started anew for every round."""

    @property
    def name(self) -> str:
        """How it is called in tables."""

    @property
    def progress(self) -> Progress:
        """How far its orders have come."""

    async def prepare(self, orders: int) -> None:
        """Fresh data: nothing but a catalogue, and carts for this many orders."""

    async def start(self) -> None:
        """Every process up and connected."""

    def submit(self, numbers: Sequence[int]) -> None:
        """These orders are to be placed now."""

    def is_alive(self) -> bool:
        """Whether all its processes run."""

    def pids(self) -> list[int]:
        """Its processes, without PostgreSQL and the broker."""

    async def finish(self) -> dict[str, Any]:
        """Wait for what is still on its way, end the processes, and say what they noticed."""

    async def audit(self, orders: int) -> list[str]:
        """What is wrong with the data; empty when every order is there once and whole."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU milliseconds per order, by who used them."""

    python: float
    postgres: float
    broker: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.python + self.postgres + self.broker


@dataclass(slots=True)
class Run:
    """What one round came to."""

    orders: int
    seconds: float
    cpu: Cpu
    latency: Spread
    late_share: float = 0.0
    noticed: dict[str, Any] = field(default_factory=dict)
    answers: Spread = NOTHING
    """How long an order waited for the answer of its request, where there is one."""

    @property
    def rate(self) -> float:
        """Orders per second."""
        return self.orders / self.seconds

    @property
    def void(self) -> bool:
        """Whether the generator itself was too late too often."""
        return self.late_share > LATE_SHARE


class AuditFailedError(RuntimeError):
    """A run left wrong data behind; its figures are worth nothing."""


class NotFinishedError(RuntimeError):
    """Orders were still under way when the time was up."""


def poisson(rate: float, seconds: float) -> list[float]:
    """Intended starts, in seconds from the beginning: the same ones for everybody, fixed before the run."""
    dice, starts, at = random.Random(SEED), [], 0.0  # noqa: S311 - a schedule, not a secret
    while (at := at + dice.expovariate(rate)) < seconds:
        starts.append(at)
    return starts


async def closed_loop(
    contender: Contender, ground: Ground, orders: int, in_flight: int, within_s: float
) -> Run:
    """As many orders as can be, with at most `in_flight` of them under way."""
    warm = min(orders // 4, in_flight, 400)
    total = warm + orders
    await contender.prepare(total)
    await ground.settle()
    await contender.start()
    try:
        await _push(contender, range(warm), in_flight, within_s)
        before, began = _cpu(contender, ground), clock()
        await _push(contender, range(warm, total), in_flight, within_s)
        seconds = clock() - began
        cpu = _spent(before, _cpu(contender, ground), orders)
    finally:
        noticed = await contender.finish()
    await _audited(contender, total)
    asked, answered = contender.progress.asked, contender.progress.answered
    waited = spread(answered[number] - asked[number] for number in range(warm, total) if number in answered)
    return Run(orders, seconds, cpu, NOTHING, noticed=noticed, answers=waited)


async def _push(contender: Contender, numbers: range, in_flight: int, within_s: float) -> None:
    progress, sent = contender.progress, numbers.start
    async with _within(contender, within_s):
        while progress.settled < numbers.stop:
            room = min(in_flight - (sent - progress.settled), numbers.stop - sent)
            if room > 0:
                contender.submit(range(sent, sent + room))
                sent += room
            await _progress(contender)


async def _progress(contender: Contender) -> None:
    """Wait for news; a process that has ended will never send any."""
    contender.progress.moved.clear()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(contender.progress.moved.wait(), LOOKS_EVERY_S)
    if not contender.is_alive():
        raise NotFinishedError(f"{contender.name}: a process has ended")


async def open_loop(
    contender: Contender,
    ground: Ground,
    starts: Sequence[float],
    within_s: float,
    apart: Collection[int] = (),
) -> Run:
    """Orders at their intended starts, whatever happens; a latency counts from the intended start.

    Those of the numbers `apart` are left out of it.
    """
    warm = WARM
    total = warm + len(starts)
    await contender.prepare(total)
    await ground.settle()
    await contender.start()
    try:
        await _push(contender, range(warm), 20, within_s)
        before, began = _cpu(contender, ground), clock() + 0.1
        late = await keep_schedule(contender, starts, began, warm)
        async with _within(contender, within_s):
            while contender.progress.settled < total:
                await _progress(contender)
        seconds = clock() - began
        cpu = _spent(before, _cpu(contender, ground), len(starts))
    finally:
        noticed = await contender.finish()
    await _audited(contender, total)
    progress, due = contender.progress, {warm + place: began + start for place, start in enumerate(starts)}
    due = {number: start for number, start in due.items() if number not in apart}
    latency = spread(progress.finalized[number] - start for number, start in due.items())
    answers = spread(progress.answered[one] - start for one, start in due.items() if one in progress.answered)
    return Run(len(starts), seconds, cpu, latency, late / len(starts), noticed, answers)


async def keep_schedule(contender: Contender, starts: Sequence[float], began: float, first: int) -> int:
    """Submit each order when it is due; how many were sent more than 5 ms late."""
    late, place = 0, 0
    while place < len(starts):
        now = clock() - began
        if now < starts[place]:
            await asyncio.sleep(starts[place] - now)
            continue
        upto = next((i for i in range(place, len(starts)) if starts[i] > now), len(starts))
        late += sum(now - start > LATE_S for start in starts[place:upto])
        contender.submit(range(first + place, first + upto))
        place = upto
    return late


@asynccontextmanager
async def _within(contender: Contender, seconds: float) -> AsyncIterator[None]:
    """A bound on waiting that says how far the orders came."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        finalized, settled = len(contender.progress.finalized), contender.progress.settled
        msg = f"{contender.name}: {finalized} finalized and {settled} settled in {seconds:g} s"
        raise NotFinishedError(msg) from None


async def _audited(contender: Contender, orders: int) -> None:
    if wrong := await contender.audit(orders):
        raise AuditFailedError(f"{contender.name}: " + "; ".join(wrong))


def _cpu(contender: Contender, ground: Ground) -> tuple[float, float, float]:
    python = machine.cpu_seconds(*contender.pids()) + machine.own_cpu_seconds()
    broker = machine.cpu_seconds(ground.broker_pid) if ground.broker_pid else 0.0
    return python, machine.cpu_seconds(ground.postgres_pid), broker


def _spent(before: tuple[float, ...], after: tuple[float, ...], orders: int) -> Cpu:
    return Cpu(*((late - early) / orders * 1e3 for early, late in zip(before, after, strict=True)))
