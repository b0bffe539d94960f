"""The broker is away while people go on buying: what is taken meanwhile, and how fast it is caught up."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from bench import customers
from bench.by_http import IN_FLIGHT, ByHttp
from bench.customers import Customers
from bench.ground import Ground
from bench.load import Progress, closed_loop, poisson
from bench.ours import world
from bench.ours.contender import Services
from bench.results import Gate, Report
from bench.wire import clock
from infra.ports import free_port

CLOSED_LOOP: Final = 4_000
WARM: Final = 100
WITHIN_S: Final = 300.0
LOOKS_EVERY_S: Final = 0.05
STAGES: Final = "select stage, count(*) as count from checkouts group by stage"
COLUMNS: Final = (
    "orders/s",
    "away s",
    "asked",
    "taken",
    "refused 503",
    "first s",
    "caught up s",
    "drained/s",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many orders a second, for how long the broker is away, and how many rows and seconds may wait."""

    rate: float = 20.0
    away_s: float = 900.0
    most_rows: int = 20_000
    most_age_s: float = 120.0


class Patient(Customers):
    """Customers who take a 503 for an answer, and buy nothing then."""

    def __init__(self, port: int, requests: dict[int, bytes], progress: Progress) -> None:
        super().__init__(port, requests, progress)
        self.answers: Counter[str] = Counter()

    async def _shop(self) -> None:
        reader, writer = await asyncio.open_connection(customers.HOST, self._port)
        try:
            while True:
                number = await self._waiting.get()
                writer.write(self._requests[number])
                placed = await customers.is_placed(reader)
                self.answers["taken" if placed else "refused"] += 1
        finally:
            writer.close()


@dataclass(slots=True)
class Away(ByHttp):
    """The services, asked by patient customers."""

    patient: Patient | None = field(default=None)

    async def start(self) -> None:
        await self.inner.start()
        self.patient = self._customers = Patient(self.inner.door, self._requests, self.inner.progress)
        await self.patient.come()


async def measure(ground: Ground, plan: Plan) -> Report:
    """The rate without an outage first; then the outage, and the catching up."""
    report = Report("backlog", "The broker away under load", COLUMNS)
    usual = await closed_loop(_services(ground, ByHttp, plan), ground, CLOSED_LOOP, IN_FLIGHT, WITHIN_S)
    away = _services(ground, Away, plan)
    assert isinstance(away, Away), "made so"
    starts = poisson(plan.rate, plan.away_s)
    await away.prepare(WARM + len(starts))
    await ground.settle()
    await away.start()
    try:
        found = await _outage(ground, away, plan, starts)
    finally:
        await away.finish()
    stages = await _stages(ground)
    report.add(
        plan.rate, plan.away_s, len(starts), found["taken"], found["refused"], found["first_s"],
        found["caught_up_s"], found["drained"], usual=usual.rate, stages=stages, **found,
    )  # fmt: skip
    unfinished = sum(stages.values()) - stages.get("confirmed", 0)
    report.gates += [
        Gate("orders lost", WARM + found["taken"] - stages.get("confirmed", 0), "at most", 0),
        Gate("checkouts that did not become an order", unfinished, "at most", 0),
        Gate("drained / closed loop", found["drained"] / usual.rate, "at least", 0.9),
    ]
    return report


def _services(ground: Ground, kind: type[ByHttp], plan: Plan) -> ByHttp:
    limits = {"outbox_most_rows": plan.most_rows, "outbox_most_age_s": plan.most_age_s}
    return kind(ground, Services(ground, door=free_port(), limits=limits))


async def _outage(ground: Ground, away: Away, plan: Plan, starts: list[float]) -> dict[str, Any]:
    """SIGSTOP: connections stay open and nobody answers, which is the worse way to be away."""
    assert ground.broker_pid is not None
    assert away.patient is not None, "started before"
    away.submit(range(WARM))
    await _settled(away, WARM)
    os.kill(ground.broker_pid, signal.SIGSTOP)
    try:
        began = clock()
        for place, start in enumerate(starts):
            await asyncio.sleep(max(0.0, began + start - clock()))
            away.submit([WARM + place])
        await asyncio.sleep(max(0.0, began + plan.away_s - clock()))
    finally:
        os.kill(ground.broker_pid, signal.SIGCONT)
    back = clock()
    answers = away.patient.answers
    await _until(lambda: answers.total() >= WARM + len(starts))
    taken = answers["taken"] - WARM
    before = len(away.progress.finalized)
    await _until(lambda: len(away.progress.finalized) > before or not taken)
    first = clock()
    await _settled(away, WARM + taken)
    return {
        "taken": taken,
        "refused": answers["refused"],
        "first_s": first - back,
        "caught_up_s": clock() - back,
        "drained": taken / max(1e-9, clock() - first),
    }


async def _settled(away: Away, count: int) -> None:
    await _until(lambda: away.progress.settled >= count or not away.is_alive())
    assert away.progress.settled >= count, "a process has ended"


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not reached():  # noqa: ASYNC110 - what is awaited lives in other processes
            await asyncio.sleep(LOOKS_EVERY_S)


async def _stages(ground: Ground) -> dict[str, int]:
    connection = await asyncpg.connect(ground.database(world.database("orders")))
    try:
        return {row["stage"]: row["count"] for row in await connection.fetch(STAGES)}
    finally:
        await connection.close()
