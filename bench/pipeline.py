"""The unit of work from end to end: checkout, two lines held, paid, finalized, for both contenders."""

import signal
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from rich.console import Console

from bench import children, limits
from bench.ground import Ground
from bench.latency import Spread, buckets
from bench.load import Contender, Run, closed_loop, open_loop, poisson
from bench.ours.contender import Services
from bench.peers.job_queue.contender import JobQueue
from bench.results import Gate, Report
from infra import processes
from infra.ports import free_port
from services.chassis.settings import ServiceSettings

ORDERS: Final = {1: 500, 10: 2_000, 50: 6_000, 200: 10_000, 500: 12_000}
"""Of one round, by batch size: some seconds' worth."""
PEER_ORDERS: Final = 3_000
PEER_IN_FLIGHT: Final = 200
PEERS: Final = tuple((mode, workers) for mode in ("1tx", "3tx") for workers in (1, 4, 16))
FULL: Final = 200
WITHIN_S: Final = 180.0
ROUND_S: Final = 10.0
"""An open-loop round at one rate."""

COLUMNS: Final = (
    "contender", "orders/s", "min-max", "CPU ms/order", "python", "postgres", "broker", "E2E ms p50 / p99",
)  # fmt: skip
LOG: Final = Console(stderr=True)

Start = Callable[[], Contender]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call of the command measures."""

    batches: Sequence[int] = (1, 10, 50, 200, 500)
    rates: Sequence[int] = (100,)
    rounds: int = 3
    peers: Sequence[tuple[str, int]] = PEERS
    scale: float = 1.0
    """Of the number of orders of a round."""
    trace: bool = False
    layouts: Sequence[str] = ("process per service",)


@dataclass(slots=True)
class Rounds:
    """The runs of one contender."""

    name: str
    ours: bool
    runs: list[Run] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Orders per second, the median."""
        return statistics.median(run.rate for run in self.runs)

    @property
    def cpu(self) -> float:
        """CPU milliseconds per order, the median."""
        return statistics.median(run.cpu.total for run in self.runs)

    def median(self, figure: Callable[[Run], float]) -> float:
        """Any figure's median."""
        return statistics.median(map(figure, self.runs))


async def measure(ground: Ground, plan: Plan) -> Report:
    """Closed loop, then open loop; the ratios are the gates."""
    report = Report("pipeline", "U1: placed -> held -> paid -> finalized, no HTTP", COLUMNS)
    contenders = _contenders(ground, plan)
    await _warm_up(contenders, ground, plan)
    for name, rounds in (await _closed(ground, plan, contenders)).items():
        _add(report, rounds, at=name)
        contenders[name][1].runs += []
    closed = [rounds for _, rounds in contenders.values()]
    best_ours = max((one for one in closed if one.ours), key=lambda one: one.rate, default=None)
    best_peer = max((one for one in closed if not one.ours), key=lambda one: one.rate, default=None)
    if best_ours and best_peer:
        _judge(report, best_ours, best_peer)
    if best_ours:
        _note_fills(report, best_ours)
    await _open(ground, plan, report, best_ours, best_peer)
    if plan.trace:
        await _compare_tracing(ground, plan, report)
    return report


async def _compare_tracing(ground: Ground, plan: Plan, report: Report) -> None:
    """Full batches with spans recorded and exported, at the ratio services start with and at all orders."""
    port = free_port()
    collector = await children.start("collector", ["bench.collector", str(port)], folder=ground.folder)
    usual: float = ServiceSettings.model_fields["trace_ratio"].default
    address = f"http://127.0.0.1:{port}"
    recorded = [{"otlp_endpoint": address, "trace_ratio": ratio} for ratio in sorted({usual, 1.0})]
    contenders: Contenders = {}
    for tracing in ({}, *recorded):
        _enter(contenders, partial(Services, ground, FULL, tracing=tracing), ours=True)
    try:
        plain, *traced = (await _closed(ground, plan, contenders)).values()
    finally:
        await processes.stop(collector, signal.SIGKILL)
    for rounds in (plain, *traced):
        _add(report, rounds)
    report.gates.append(
        Gate(f"orders/s, {traced[0].name} / untraced", traced[0].rate / plain.rate, "at least", 0.9, 0.97)
    )


Contenders = dict[str, tuple[Start, Rounds]]


def _contenders(ground: Ground, plan: Plan) -> Contenders:
    made: Contenders = {}
    for mode, workers in plan.peers:
        _enter(made, partial(JobQueue, ground, mode, workers), ours=False)
    for layout in plan.layouts:
        for batch in plan.batches:
            _enter(made, partial(Services, ground, batch, layout), ours=True)
    return made


def _enter(made: Contenders, start: Start, *, ours: bool) -> None:
    name = start().name
    made[name] = (start, Rounds(name, ours))


async def _warm_up(contenders: Contenders, ground: Ground, plan: Plan) -> None:
    """One round of each side that does not count: a broker's JVM compiles its code in the first minute."""
    for ours in (False, True):
        starts = [start for start, rounds in contenders.values() if rounds.ours is ours]
        if starts:
            contender = starts[-1]()
            await closed_loop(contender, ground, *_size(contender, plan.scale), WITHIN_S)


async def _closed(ground: Ground, plan: Plan, contenders: Contenders) -> dict[str, Rounds]:
    """A B C A B C: what disturbs the machine for a while disturbs everybody."""
    for number in range(plan.rounds):
        for start, rounds in contenders.values():
            contender = start()
            orders, in_flight = _size(contender, plan.scale)
            run = await closed_loop(contender, ground, orders, in_flight, WITHIN_S)
            rounds.runs.append(run)
            LOG.print(
                f"round {number + 1}: {rounds.name}: {run.rate:,.0f}/s, {run.cpu.total:.2f} ms", style="dim"
            )
    return {name: rounds for name, (_, rounds) in contenders.items()}


def _size(contender: Contender, scale: float) -> tuple[int, int]:
    """Orders of a round, and how many may be under way."""
    if isinstance(contender, Services):
        known = ORDERS.get(contender.batch, 40 * contender.batch)
        return max(100, round(known * scale)), 20 * contender.batch + 200
    return max(100, round(PEER_ORDERS * scale)), PEER_IN_FLIGHT


def _add(report: Report, rounds: Rounds, **more: object) -> None:
    rates = [run.rate for run in rounds.runs]
    cpu = {
        "python": rounds.median(lambda run: run.cpu.python),
        "postgres": rounds.median(lambda run: run.cpu.postgres),
        "broker": rounds.median(lambda run: run.cpu.broker),
    }
    report.add(
        rounds.name,
        rounds.rate,
        f"{min(rates):,.0f}-{max(rates):,.0f}",
        rounds.cpu,
        *cpu.values(),
        "",
        contender=rounds.name,
        orders_s=rounds.rate,
        runs=rates,
        cpu_ms=rounds.cpu,
        **cpu,
        **more,
    )


def _judge(report: Report, ours: Rounds, peer: Rounds) -> None:
    report.gates += [
        Gate(f"orders/s, {ours.name} / {peer.name}", ours.rate / peer.rate, "at least", 3.0, 6.0),
        Gate("CPU per order, theirs / ours", peer.cpu / ours.cpu, "at least", 2.5, 5.0),
    ]


def _note_fills(report: Report, ours: Rounds) -> None:
    fills: dict[str, list[int]] = ours.runs[-1].noticed["fills"]
    report.notes.append(f"batch fill, {ours.name}:")
    for what, sizes in sorted(fills.items()):
        mean = sum(sizes) / max(1, len(sizes))
        report.notes.append(f"  {what}: mean {mean:.0f} of {len(sizes)} batches; {buckets(sizes)}")


async def _open(
    ground: Ground, plan: Plan, report: Report, best_ours: Rounds | None, best_peer: Rounds | None
) -> None:
    """Arrivals on a schedule; a latency counts from the intended start."""
    rates = list(plan.rates)
    if best_ours and rates:
        rates.append(round(best_ours.rate / 2))
    for rate in rates:
        hop = (await limits.hops(ground, (rate,), 3.0))[rate]
        seconds = max(3.0, min(ROUND_S, 10_000 / rate))
        if best_ours:
            await _open_one(ground, report, partial(Services, ground), rate, seconds, hop)
        if best_peer and rate < best_peer.rate:
            mode, workers = max(plan.peers, key=lambda one: JobQueue(ground, *one).name == best_peer.name)
            await _open_one(ground, report, partial(JobQueue, ground, mode, workers), rate, seconds, hop)


async def _open_one(
    ground: Ground, report: Report, start: Start, rate: int, seconds: float, hop: Spread
) -> None:
    run = await _repeated_when_void(ground, start, rate, seconds)
    contender = start()
    name, cpu, found = contender.name, run.cpu, run.latency
    void = " VOID: the generator was late" if run.void else ""
    report.add(
        f"{name} at {rate}/s{void}", run.rate, f"late {run.late_share:.1%}", cpu.total, cpu.python,
        cpu.postgres, cpu.broker, str(found), contender=name, rate=rate, p50=found.p50, p99=found.p99,
        p999=found.p999, late_share=run.late_share, raw_hop_p99=hop.p99, cpu_ms=cpu.total,
        hops=run.noticed.get("hops", {}),
    )  # fmt: skip
    if isinstance(contender, Services):
        limit = 3 * hop.p99 + 25
        report.gates.append(
            Gate(f"E2E p99 at {rate}/s, ms (3 x {hop.p99:.1f} + 25)", found.p99, "at most", limit)
        )
        told: dict[str, Any] = run.noticed["hops"]
        report.notes.append(
            f"hops at {rate}/s, ms p50 / p99: " + ", ".join(f"{k} {v}" for k, v in told.items())
        )


async def _repeated_when_void(ground: Ground, start: Start, rate: int, seconds: float) -> Run:
    """A generator that was late says something about the machine; the run gets one more chance."""
    run = await open_loop(start(), ground, poisson(rate, seconds), WITHIN_S)
    return await open_loop(start(), ground, poisson(rate, seconds), WITHIN_S) if run.void else run
