"""The broker is away while people go on buying: what is taken meanwhile, and how fast it is caught up with.

The load begins before the outage and goes on after it, so that orders are under way when the broker goes and
new ones come while the old ones are caught up with.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from bench import catalogue, customers
from bench.by_http import ByHttp
from bench.customers import Answer, Customers
from bench.ground import Ground
from bench.load import WARM, Progress, closed_loop, keep_schedule, poisson
from bench.ours.contender import Services
from bench.pipeline import LOG
from bench.results import Gate, Report
from bench.wire import clock
from infra.ports import free_port

WARM_UP: Final = 6_000
IN_FLIGHT: Final = 4_000
BEFORE_S: Final = 5.0
AFTER_S: Final = 45.0
"""A relay that has tried in vain for long tries every half a minute."""
WITHIN_S: Final = 300.0
LOOKS_EVERY_S: Final = 0.01
MEASURED_WITHIN_S: Final = 3.0
"""The limit is held against a measurement that is about a second old."""
FIRST: Final = ("inventory", "order.placed")
"""Heard again, it is the first sign of the broker's return that is seen from here."""
STAGES: Final = "select stage, count(*) as count from checkouts group by stage"
COLUMNS: Final = (
    "rate/s", "away s", "asked", "taken", "503", "503 at s", "back s", "done s", "drain/s", "loop/s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """How many orders a second, for how long the broker is away, and how many rows and seconds may wait."""

    rate: float = 20.0
    away_s: float = 900.0
    most_rows: int = 20_000
    most_age_s: float = 120.0

    @property
    def starts(self) -> list[float]:
        return poisson(self.rate, BEFORE_S + self.away_s + AFTER_S)


class Patient(Customers):
    """Customers who take a 503 for an answer, and buy nothing then."""

    def __init__(self, port: int, requests: dict[int, bytes], progress: Progress) -> None:
        super().__init__(port, requests, progress)
        self.answers: dict[int, Answer] = {}

    async def _shop(self) -> None:
        reader, writer = await asyncio.open_connection(customers.HOST, self._port)
        try:
            while True:
                number = await self._waiting.get()
                self._progress.asked[number] = clock()
                writer.write(self._requests[number])
                self.answers[number] = await customers.answer_of(reader)
                self._progress.answered[number] = clock()
        finally:
            writer.close()


@dataclass(slots=True)
class Fared:
    """What was seen of one outage; times on the machine's monotonic clock."""

    gone: float = 0.0
    back: float = 0.0
    first: float = 0.0
    """When the first event was heard again."""
    caught_up: float = 0.0
    drained: float = 0.0
    """Orders settled per second between the two."""
    asked: dict[int, float] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    backlog: int = 0
    """Orders taken before the broker's return and not finalized by then."""
    again: dict[str, float] = field(default_factory=dict)
    """Seconds from the return until each service heard something on each topic."""
    wrong: Sequence[str] = ()
    late: float = 0.0

    @property
    def taken(self) -> list[int]:
        return [number for number, answer in self.answers.items() if answer.placed]

    @property
    def refused(self) -> list[int]:
        return [number for number, answer in self.answers.items() if not answer.placed]

    @property
    def without_retry_after(self) -> int:
        return sum(self.answers[number].retry_after is None for number in self.refused)

    @property
    def refused_too_long(self) -> int:
        """Refused although everything had been caught up with."""
        return sum(self.asked[number] > self.caught_up + MEASURED_WITHIN_S for number in self.refused)

    @property
    def first_refused_s(self) -> float:
        return min((self.asked[number] for number in self.refused), default=self.gone) - self.gone


async def measure(ground: Ground, plan: Plan) -> Report:
    """A round for the broker to get warm; the outage; then the closed loop with as many orders as had waited.

    All of them are under way at once there too, so both fill and empty the pipeline once.
    """
    report = Report("backlog", "The broker away under load", COLUMNS)
    await closed_loop(Services(ground), ground, WARM_UP, IN_FLIGHT, WITHIN_S)
    fared = await _outage(ground, plan)
    usual = await closed_loop(Services(ground), ground, fared.backlog, fared.backlog, WITHIN_S)
    report.add(
        plan.rate, plan.away_s, len(fared.answers), len(fared.taken), len(fared.refused),
        fared.first_refused_s, fared.first - fared.back, fared.caught_up - fared.back, fared.drained,
        usual.rate, rate=plan.rate, away_s=plan.away_s, asked=len(fared.answers), taken=len(fared.taken),
        refused=len(fared.refused), backlog=fared.backlog, drained=fared.drained, usual=usual.rate,
        stages=fared.stages, again=fared.again,
    )  # fmt: skip
    _judge(report, fared, usual.rate)
    return report


def _judge(report: Report, fared: Fared, usual: float) -> None:
    confirmed = fared.stages.get("confirmed", 0)
    report.gates += [
        Gate("orders lost", len(fared.taken) - confirmed, "at most", 0),
        Gate("checkouts that ended otherwise", sum(fared.stages.values()) - confirmed, "at most", 0),
        Gate("refused without Retry-After", fared.without_retry_after, "at most", 0),
        Gate("refused once all was caught up with", fared.refused_too_long, "at most", 0),
        Gate("violations the audit found", len(fared.wrong), "at most", 0),
        Gate("drained / closed loop", fared.drained / usual, "at least", 0.9),
    ]
    again = ", ".join(f"{where} {seconds:.2f}" for where, seconds in fared.again.items())
    report.notes += [
        *fared.wrong,
        "503 at: the first, since the broker left; back, done: an event heard again, all, since its return",
        f"{fared.backlog:,} orders waited; heard again after s: {again}",
        f"the load was more than 5 ms late in {fared.late:.1%} of its orders",
    ]


async def _outage(ground: Ground, plan: Plan) -> Fared:
    more = {"outbox_most_rows": plan.most_rows, "outbox_most_age_s": plan.most_age_s}
    services = Services(ground, door=free_port(), more=more)
    people = ByHttp(ground, services, Patient)
    starts = plan.starts
    await people.prepare(WARM + len(starts))
    await ground.settle()
    await people.start()
    try:
        fared = await _live_through(services, people, plan, starts)
    finally:
        await people.finish()
    fared.stages = await _stages(services)
    fared.wrong = await services.audit(len(fared.taken), _left_in_carts(fared))
    return fared


def _left_in_carts(fared: Fared) -> int:
    return len(fared.refused) * catalogue.LINES


async def _live_through(services: Services, people: ByHttp, plan: Plan, starts: Sequence[float]) -> Fared:
    patient = people.customers
    assert isinstance(patient, Patient), "they were asked for"
    people.submit(range(WARM))
    assert await _until(people, lambda: people.progress.settled >= WARM), "nothing works, broker or not"
    fared = Fared(asked=people.progress.asked, answers=patient.answers)
    began = clock() + 0.1
    async with asyncio.TaskGroup() as group:
        load = group.create_task(keep_schedule(people, starts, began, WARM))
        await _without_broker(services.ground, fared, began + BEFORE_S, plan.away_s)
        await _catch_up(services, people, fared)
    fared.late = load.result() / len(starts)
    await _until(people, lambda: len(fared.answers) >= WARM + len(starts))
    taken = len(fared.taken)
    await _until(people, lambda: people.progress.settled >= taken)
    return fared


async def _without_broker(ground: Ground, fared: Fared, at: float, seconds: float) -> None:
    """SIGSTOP: connections stay open and nobody answers, which is the worse way to be away."""
    assert ground.broker_pid is not None, "there is one"
    await asyncio.sleep(at - clock())
    os.kill(ground.broker_pid, signal.SIGSTOP)
    try:
        fared.gone = clock()
        LOG.print(f"the broker is away for {seconds:g} s", style="dim")
        await asyncio.sleep(seconds)
    finally:
        os.kill(ground.broker_pid, signal.SIGCONT)
    fared.back = clock()
    LOG.print(f"it is back: {len(fared.taken):,} taken, {len(fared.refused):,} refused so far", style="dim")


async def _catch_up(services: Services, people: ByHttp, fared: Fared) -> None:
    """Wait until everything is settled that was taken before the broker's return."""
    heard, progress = services.heard, services.progress
    before = dict(heard)
    taken = {number for number in fared.taken if fared.asked[number] < fared.back}
    fared.backlog = len(taken - progress.finalized.keys())

    def heard_again() -> bool:
        for (service, topic), count in heard.items():
            if count > before.get((service, topic), 0):
                fared.again.setdefault(f"{service} {topic}", clock() - fared.back)
        return heard[FIRST] > before[FIRST]

    def all_there() -> bool:
        return heard_again() and progress.settled >= len(taken) and progress.finalized.keys() >= taken

    await _until(people, heard_again)
    fared.first, settled = clock(), progress.settled

    complete = await _until(people, all_there)
    fared.caught_up = clock()
    LOG.print(f"caught up with {fared.backlog:,} orders after {clock() - fared.back:.1f} s", style="dim")
    if complete:
        fared.drained = (progress.settled - settled) / (fared.caught_up - fared.first)


async def _until(people: ByHttp, reached: Callable[[], bool]) -> bool:
    """Whether it came true in time; raises when a process has ended or a customer met something odd."""
    until = clock() + WITHIN_S
    while not reached():
        if clock() > until:
            return False
        assert people.is_alive(), "a process has ended"
        await asyncio.sleep(LOOKS_EVERY_S)
    return True


async def _stages(services: Services) -> dict[str, int]:
    connection = await asyncpg.connect(services.databases["orders"])
    try:
        return {row["stage"]: row["count"] for row in await connection.fetch(STAGES)}
    finally:
        await connection.close()
