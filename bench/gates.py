"""The gates of the delivery mechanics at full length, each beside the design it replaced, which must fail."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bench import gate_consumer, gate_writers
from bench.ground import PASSWORD, Ground
from bench.results import Gate, Report
from infra import databases
from services.chassis.migrate import migrate
from tests.support.torture.backlog import torture_backlog
from tests.support.torture.failover import torture_failover
from tests.support.torture.judge import Verdict
from tests.support.torture.reading import torture_reader
from tests.support.torture.writers import Writing

SERVICE: Final = "orders"


@dataclass(frozen=True, slots=True)
class Place:
    """A fresh, migrated database of its own for one gate."""

    dsn: str
    admin_dsn: str


async def measure(ground: Ground, share: float) -> Report:
    """All gates; `share` 1.0 is full length."""
    columns = ("gate", "what", "ours", "negative control")
    report = Report("gates", f"Gates of outbox and inbox, {share:.0%} of full length", columns)
    for gate in (_reader, _failover, _backlog, _rotation, _notify, _consumer):
        place = await _place(ground, gate.__name__)
        await gate(report, place, share)
    return report


async def _place(ground: Ground, name: str) -> Place:
    database = f"gate{name}"
    dsn = await databases.provision(ground.admin_dsn, SERVICE, PASSWORD, database=database)
    await migrate(ground.database(database), SERVICE)
    return Place(dsn, ground.database(database))


GateRun = Callable[[Report, Place, float], Awaitable[None]]


def _wrong(verdict: Verdict) -> int:
    return verdict.lost + verdict.phantom + verdict.reordered + verdict.gaps


def _add(report: Report, number: int, what: str, ours: object, control: object) -> None:
    report.add(number, what, str(ours), str(control), gate_no=number, what=what, ours=ours, control=control)


async def _reader(report: Report, place: Place, share: float) -> None:
    """1: slow, rolled back, nested and early transactions: nothing lost, doubled or out of order."""
    fared = await torture_reader(place.dsn, place.admin_dsn, Writing(rows=round(400_000 * share)))
    controls = f"by id lost {fared.by_id.lost}, by xid reordered {fared.below_horizon.reordered}"
    _add(
        report,
        1,
        "reader torture",
        f"{fared.relay.committed:,} events: {_wrong(fared.relay)} wrong",
        controls,
    )
    report.gates += [
        Gate("1: lost, reordered or doubled", _wrong(fared.relay) + fared.relay.duplicates, "at most", 0),
        Gate("1 control: a cursor of ids loses", fared.by_id.lost, "at least", 1),
        Gate("1 control: reading by xid reorders", fared.below_horizon.reordered, "at least", 1),
    ]


async def _failover(report: Report, place: Place, share: float) -> None:
    """2: relays that freeze, lag and die."""
    fared = await torture_failover(place.dsn, place.admin_dsn, seconds=max(5, 60 * share))
    ours = (
        f"{fared.relays.committed:,} events: {_wrong(fared.relays)} wrong, {fared.relays.duplicates} copies"
    )
    _add(report, 2, "failover torture", ours, f"row leases reordered {fared.row_leases.reordered}")
    report.gates += [
        Gate("2: lost or reordered once copies are dropped", _wrong(fared.relays), "at most", 0),
        Gate("2 control: row leases reorder", fared.row_leases.reordered, "at least", 1),
    ]


async def _backlog(report: Report, place: Place, share: float) -> None:
    """3: a page costs the same all along a long backlog, beside a session that pins xmin."""
    backlog = max(20_000, round(1_000_000 * share))
    fared = await torture_backlog(place.admin_dsn, backlog=backlog, drain=round(backlog * 0.4))
    # It needs some length to show; a tenth of ours is enough, because it is so much slower.
    control = await gate_writers.torture_deleting_queue(place.admin_dsn, backlog=max(40_000, backlog // 10))
    ours = f"{fared.first_ms:.2f} -> {fared.last_ms:.2f} ms a page"
    _add(report, 3, "pinned snapshot", ours, f"{control.first_ms:.2f} -> {control.last_ms:.2f} ms a page")
    report.gates += [
        Gate("3: last pages / first pages", fared.last_ms / fared.first_ms, "at most", 1.2),
        Gate("3 control: a queue of row leases", control.last_ms / control.first_ms, "at least", 1.5),
    ]


async def _rotation(report: Report, place: Place, share: float) -> None:
    """4: no insert waits while the ring makes room beside an idle writer."""
    longest = await gate_writers.longest_insert_while_rotating(place.dsn, rounds=max(20, round(500 * share)))
    control = await gate_writers.insert_while_dropping(place.dsn, place.admin_dsn)
    _add(report, 4, "rotation beside an idle writer", f"{longest:.1f} ms", f"drop table: {control:.0f} ms")
    report.gates += [
        Gate("4: longest insert, ms", longest, "at most", 50),
        Gate("4 control: an insert beside `drop table`, ms", control, "at least", 900),
    ]


async def _notify(report: Report, place: Place, share: float) -> None:
    """5: waking the relay costs the writers nothing."""
    rates = await gate_writers.commit_rates(place.admin_dsn, seconds=max(1.0, 10 * share))
    ours, control = rates["debounced"] / rates["none"], rates["in transaction"] / rates["none"]
    _add(
        report,
        5,
        "commits/s with waking / without, 32 writers",
        f"{ours:.2f}",
        f"pg_notify inside: {control:.2f}",
    )
    report.gates += [
        Gate("5: commits/s with our wake-up / without", ours, "at least", 0.9),
        Gate("5 control: pg_notify in the transaction", control, "at most", 0.9),
    ]


async def _consumer(report: Report, place: Place, share: float) -> None:
    """7 and 10: overlapping owners, records read again, failures: once each, in order, others go on."""
    fared = await gate_consumer.torture_consumer(
        place.dsn, place.admin_dsn, SERVICE, events=max(2_000, round(12_000 * share))
    )
    ours = f"{fared.events:,} events, {fared.parked} parked: {fared.wrong} wrong, {fared.held_up} held up"
    _add(report, 7, "consumer torture", ours, f"without inbox doubled {fared.doubled_without_inbox}")
    report.gates += [
        Gate("7: doubled, lost or out of order", fared.wrong, "at most", 0),
        Gate("10: keys held up by another key's poison", fared.held_up, "at most", 0),
        Gate("10: poison records parked and visible", fared.parked, "at least", 1),
        Gate("7 control: without the inbox, doubled", fared.doubled_without_inbox, "at least", 1),
    ]
