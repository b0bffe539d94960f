"""The second table of the pipeline: the same unit of work, its checkouts entered by HTTP.

Both contenders answer `POST /v1/checkouts` behind one front, literally the same code (HTTP server and limits,
the token's signature, the body's model, the sealed address, the idempotency key stored beside the effect) and
are asked by the same customers; only what the route calls differs: orders' coalesced checkout action, or the
replaced design's `place_checkout` function. The API gateway stands before neither: it would cost both the
same hop and hide what differs behind it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from bench import customers
from bench.customers import Customers
from bench.ground import Ground
from bench.load import Progress, closed_loop, open_loop, poisson
from bench.ours.contender import Services
from bench.peers.job_queue.contender import JobQueue
from bench.pipeline import LOG, ROUND_S, WITHIN_S, Plan, Rounds
from bench.results import Report
from infra import keys
from infra.issuer import Issuer
from infra.ports import free_port
from services.chassis.settings import ServiceSettings

ORDERS: Final = 4_000
IN_FLIGHT: Final = 2_000
"""Placed and not yet settled, for both; at most `customers.AT_ONCE` of them wait for an answer."""
PEER_WORKERS: Final = 4
COLUMNS: Final = (
    "contender", "orders/s", "min-max", "CPU ms/order", "python", "postgres", "broker",
    "answer ms p50 / p99", "E2E ms p50 / p99",
)  # fmt: skip

Door = Services | JobQueue


@dataclass(slots=True)
class ByHttp:
    """A contender asked at its own door; everything else of it is as without HTTP."""

    ground: Ground
    inner: Door
    come: type[Customers] = Customers
    """Who asks."""
    _requests: dict[int, bytes] = field(default_factory=dict)
    _customers: Customers | None = None

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def progress(self) -> Progress:
        return self.inner.progress

    @property
    def customers(self) -> Customers:
        """Those who ask, once they are there."""
        assert self._customers is not None, "started before"
        return self._customers

    async def prepare(self, orders: int) -> None:
        await self.inner.prepare(orders)
        secrets = keys.ensure(self.ground.folder / "keys")
        issuer = Issuer.read(secrets.issuer_pem, ServiceSettings.model_fields["issuer"].default)
        self._requests = {number: customers.request_of(issuer, number) for number in range(orders)}

    async def start(self) -> None:
        await self.inner.start()
        self._customers = self.come(self.inner.door, self._requests, self.inner.progress)
        await self._customers.come()

    def submit(self, numbers: Sequence[int]) -> None:
        self.customers.place(numbers)

    def is_alive(self) -> bool:
        return self.inner.is_alive() and self.customers.all_well()

    def pids(self) -> list[int]:
        return self.inner.pids()

    async def finish(self) -> dict[str, Any]:
        if self._customers is not None:
            await self._customers.go()
        noticed = await self.inner.finish()
        return noticed | {"asked_again": self.inner.progress.asked_again}

    async def audit(self, orders: int) -> list[str]:
        return await self.inner.audit(orders)


Start = Callable[[], ByHttp]


async def measure(ground: Ground, plan: Plan) -> Report:
    """Closed loop interleaved, then the schedule of each rate; every run ends with its audit."""
    report = Report("pipeline --http", "U1: POST /v1/checkouts -> held -> paid -> finalized", COLUMNS)
    starts: dict[str, Start] = {one().name: one for one in _contenders(ground, plan)}
    rounds = {name: Rounds(name, ours=name.startswith("services")) for name in starts}
    orders = max(200, round(ORDERS * plan.scale))
    for number in range(plan.rounds):
        for name, start in starts.items():
            run = await closed_loop(start(), ground, orders, IN_FLIGHT, WITHIN_S)
            rounds[name].runs.append(run)
            LOG.print(f"round {number + 1}: {name}: {run.rate:,.0f}/s, {run.cpu.total:.2f} ms", style="dim")
    for one in rounds.values():
        _add(report, one)
        if again := sum(run.noticed["asked_again"] for run in one.runs):
            report.notes.append(f"{one.name}: {again} requests were answered with 503 and repeated")
    _compare(report, list(rounds.values()))
    for rate in plan.rates:
        for start in starts.values():
            await _add_at(report, ground, start, rate)
    report.notes.append(
        f"{customers.AT_ONCE} customers at once, each with a token of its own; their CPU counts for both"
    )
    return report


def _contenders(ground: Ground, plan: Plan) -> list[Start]:
    """The best of both at the actions: batches as large as they get, and one transaction per job."""
    modes = sorted({mode for mode, _ in plan.peers})
    peers = [partial(_job_queue, ground, mode) for mode in modes]
    return [*peers, partial(_services, ground, max(plan.batches))]


def _job_queue(ground: Ground, mode: str) -> ByHttp:
    return ByHttp(ground, JobQueue(ground, mode, PEER_WORKERS, door=free_port()))


def _services(ground: Ground, batch: int) -> ByHttp:
    return ByHttp(ground, Services(ground, batch, door=free_port()))


def _add(report: Report, one: Rounds) -> None:
    rates = [run.rate for run in one.runs]
    cpu = {
        who: one.median(lambda run, who=who: getattr(run.cpu, who))  # type: ignore[misc]
        for who in ("python", "postgres", "broker")
    }
    p50, p99 = one.median(lambda run: run.answers.p50), one.median(lambda run: run.answers.p99)
    report.add(
        one.name, one.rate, f"{min(rates):,.0f}-{max(rates):,.0f}", one.cpu, *cpu.values(),
        f"{p50:.1f} / {p99:.1f}", "", contender=one.name, orders_s=one.rate, runs=rates, cpu_ms=one.cpu,
        answer_p50=p50, answer_p99=p99, **cpu,
    )  # fmt: skip


def _compare(report: Report, rounds: Sequence[Rounds]) -> None:
    """Ratios only: what is promised of speed is promised of the actions."""
    ours = next(one for one in rounds if one.ours)
    for peer in (one for one in rounds if not one.ours):
        report.notes.append(
            f"{ours.name} / {peer.name}: orders/s {ours.rate / peer.rate:.2f}, CPU per order"
            f" {ours.cpu / peer.cpu:.2f}, answer p99"
            f" {ours.median(_answer_p99) / max(1e-9, peer.median(_answer_p99)):.2f}"
        )


def _answer_p99(run: Any) -> float:  # noqa: ANN401
    return float(run.answers.p99)


async def _add_at(report: Report, ground: Ground, start: Start, rate: int) -> None:
    run = await open_loop(start(), ground, poisson(rate, ROUND_S), WITHIN_S)
    name = f"{start().name} at {rate}/s" + (" VOID: the customers were late" if run.void else "")
    report.add(
        name, run.rate, f"late {run.late_share:.1%}", run.cpu.total, run.cpu.python, run.cpu.postgres,
        run.cpu.broker, str(run.answers), str(run.latency), contender=name, rate=rate, cpu_ms=run.cpu.total,
        answer_p50=run.answers.p50, answer_p99=run.answers.p99, p50=run.latency.p50, p99=run.latency.p99,
    )  # fmt: skip
