"""The broker is away while people go on buying: what is taken meanwhile, and how fast it is caught up with.

The load begins before the outage and goes on after it, so that orders are under way when the broker goes and
new ones come while the old ones are caught up with.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from bench import catalogue, customers, drain
from bench.by_http import ByHttp
from bench.customers import Answer, Customers
from bench.drain import FIRST, WITHIN_S, no_broker, until
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
MEASURED_WITHIN_S: Final = 3.0
"""The limit is held against a measurement that is about a second old, and somebody must come by then."""
UNDER_WAY_S: Final = 2.0
"""What was told just before the outage and did not get through may be so much older than it."""
STAGES: Final = "select stage, count(*) as count from checkouts group by stage"
COLUMNS: Final = (
    "rate/s", "away s", "asked", "taken", "503", "503 at s", "back s", "done s", "drain/s", "moment/s",
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

    @property
    def full_after_s(self) -> float:
        """Seconds from the broker's leaving until a limit is reached: of age, or of rows, one an order."""
        away = [start - BEFORE_S for start in self.starts if start >= BEFORE_S]
        return min(self.most_age_s, away[self.most_rows] if len(away) > self.most_rows else math.inf)

    @property
    def must_refuse(self) -> bool:
        """Whether the broker is away for so long that somebody must have met the limit."""
        return self.away_s > self.full_after_s + MEASURED_WITHIN_S


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
    """Orders finalized per second, of those that had waited (see `drain.rate`)."""
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
    """A round for the broker to get warm; the outage; then as many orders as had waited, after a moment."""
    report = Report("backlog", "The broker away under load", COLUMNS)
    await closed_loop(Services(ground), ground, WARM_UP, IN_FLIGHT, WITHIN_S)
    fared = await _outage(ground, plan)
    usual = await drain.after_a_moment(ground, fared.backlog)
    report.add(
        plan.rate, plan.away_s, len(fared.answers), len(fared.taken), len(fared.refused),
        fared.first_refused_s, fared.first - fared.back, fared.caught_up - fared.back, fared.drained,
        usual, rate=plan.rate, away_s=plan.away_s, asked=len(fared.answers), taken=len(fared.taken),
        refused=len(fared.refused), backlog=fared.backlog, drained=fared.drained, usual=usual,
        stages=fared.stages, again=fared.again,
    )  # fmt: skip
    report.gates += gates_of(plan, fared, usual)
    report.notes += _notes(plan, fared)
    return report


def gates_of(plan: Plan, fared: Fared, usual: float) -> list[Gate]:
    """What is promised of an outage; `usual` is the rate after a moment without the broker."""
    confirmed = fared.stages.get("confirmed", 0)
    return [
        Gate("orders lost", len(fared.taken) - confirmed, "at most", 0),
        Gate("checkouts that ended otherwise", sum(fared.stages.values()) - confirmed, "at most", 0),
        *(_back_pressure(plan, fared) if plan.must_refuse else ()),
        Gate("refused without Retry-After", fared.without_retry_after, "at most", 0),
        Gate("refused once all was caught up with", fared.refused_too_long, "at most", 0),
        Gate("violations the audit found", len(fared.wrong), "at most", 0),
        Gate("drained / after a moment", fared.drained / usual, "at least", 0.9),
    ]


def _back_pressure(plan: Plan, fared: Fared) -> list[Gate]:
    """Doors close when a limit is reached: neither before, nor later than it takes to notice."""
    first, full = fared.first_refused_s, plan.full_after_s
    return [
        Gate("refused", len(fared.refused), "at least", 1),
        Gate("s until the first was refused", first, "at least", full - UNDER_WAY_S),
        Gate("s until the first was refused", first, "at most", full + MEASURED_WITHIN_S),
    ]


def _notes(plan: Plan, fared: Fared) -> list[str]:
    again = ", ".join(f"{where} {seconds:.2f}" for where, seconds in fared.again.items())
    judged = "" if plan.must_refuse else "; nobody had to be refused: the outage was too short for that"
    return [
        *fared.wrong,
        f"503 at: the first, since the broker left; a limit is reached after {plan.full_after_s:.0f} s"
        + judged,
        "back, done: an event heard again, all, since its return",
        "moment/s: as many orders, after the moment without it in which they were placed",
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
    assert await until(people, lambda: people.progress.settled >= WARM), "nothing works, broker or not"
    fared = Fared(asked=people.progress.asked, answers=patient.answers)
    began = clock() + 0.1
    async with asyncio.TaskGroup() as group:
        load = group.create_task(keep_schedule(people, starts, began, WARM))
        await _without_broker(services.ground, fared, began + BEFORE_S, plan.away_s)
        await _catch_up(services, people, fared)
    fared.late = load.result() / len(starts)
    await until(people, lambda: len(fared.answers) >= WARM + len(starts))
    taken = len(fared.taken)
    await until(people, lambda: people.progress.settled >= taken)
    return fared


async def _without_broker(ground: Ground, fared: Fared, at: float, seconds: float) -> None:
    await asyncio.sleep(at - clock())
    with no_broker(ground):
        fared.gone = clock()
        LOG.print(f"the broker is away for {seconds:g} s", style="dim")
        await asyncio.sleep(seconds)
    fared.back = clock()
    LOG.print(f"it is back: {len(fared.taken):,} taken, {len(fared.refused):,} refused so far", style="dim")


async def _catch_up(services: Services, people: ByHttp, fared: Fared) -> None:
    """Wait until everything is settled that was taken before the broker's return."""
    heard, progress = services.heard, services.progress
    before = dict(heard)
    taken = {number for number in fared.taken if fared.asked[number] < fared.back}
    waited = taken - progress.finalized.keys()
    fared.backlog = len(waited)

    def heard_again() -> bool:
        for (service, topic), count in heard.items():
            if count > before.get((service, topic), 0):
                fared.again.setdefault(f"{service} {topic}", clock() - fared.back)
        return heard[FIRST] > before[FIRST]

    def all_there() -> bool:
        return heard_again() and progress.settled >= len(taken) and progress.finalized.keys() >= taken

    await until(people, heard_again)
    fared.first = clock()
    await until(people, all_there)
    fared.caught_up = clock()
    LOG.print(f"caught up with {fared.backlog:,} orders after {clock() - fared.back:.1f} s", style="dim")
    fared.drained = drain.rate(progress.finalized, waited, fared.first)


async def _stages(services: Services) -> dict[str, int]:
    connection = await asyncpg.connect(services.databases["orders"])
    try:
        return {row["stage"]: row["count"] for row in await connection.fetch(STAGES)}
    finally:
        await connection.close()
