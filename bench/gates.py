"""The gates of the delivery mechanics at full length, each beside the design it replaced, which must fail."""

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import gate_consumer, gate_parking, gate_writers
from bench.ground import PASSWORD, Ground
from bench.results import Gate, Report
from infra import databases
from services.chassis.migrate import migrate
from tests.support.torture.backlog import torture_backlog
from tests.support.torture.failover import torture_failover
from tests.support.torture.judge import Verdict
from tests.support.torture.reading import torture_reader
from tests.support.torture.waking import torture_waking
from tests.support.torture.writers import Writing

SERVICE: Final = "orders"


@dataclass(frozen=True, slots=True)
class Place:
    """A fresh, migrated database of its own for one gate."""

    dsn: str
    admin_dsn: str


async def measure(ground: Ground, share: float, only: int = 0) -> Report:
    """All gates, or only one; `share` 1.0 is full length."""
    columns = ("gate", "what", "ours", "negative control")
    report = Report("gates", f"Gates of outbox and inbox, {share:.0%} of full length", columns)
    for number, gate in GATES:
        if only not in (0, number):
            continue
        place = await _place(ground, gate.__name__)
        await gate(report, place, share)
    return report


async def _place(ground: Ground, name: str) -> Place:
    database = f"gate{name}"
    dsn = await databases.provision(ground.admin_dsn, SERVICE, PASSWORD, database=database)
    await migrate(ground.database(database), SERVICE)
    return Place(dsn, ground.database(database))


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
    fared = await gate_writers.torture_rotation(place.dsn, rounds=max(20, round(300 * share)))
    control = await gate_writers.insert_while_dropping(place.dsn, place.admin_dsn)
    ours = (
        f"p50 {fared.p50_ms:.1f} ms, p99 {fared.p99_ms:.1f}, longest {fared.longest_ms:.1f};"
        f" {fared.longest_beside_none_ms:.1f} beside none"
    )
    _add(report, 4, "rotation beside an idle writer", ours, f"drop table: {control:.0f} ms")
    report.gates += [
        Gate("4: inserts that waited over 50 ms for a lock", fared.blocked, "at most", 0),
        Gate("4: 99 % of the inserts, ms", fared.p99_ms, "at most", 50),
        Gate("4 control: an insert beside `drop table`, ms", control, "at least", 900),
    ]


async def _notify(report: Report, place: Place, share: float) -> None:
    """5: waking relays costs the writers nothing, because no business transaction notifies."""
    with tempfile.TemporaryDirectory(prefix="kb-gate5-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL may run as another user and must reach its own folder
        said = await torture_waking(Path(folder), orders=max(40, round(400 * share)))
    _add(
        report,
        5,
        "statement log: notifications inside a transaction",
        f"{said.inside} of {said.placed} orders, {said.hints} hints",
        f"planted inside: {said.control_inside} seen",
    )
    rates = await gate_writers.commit_rates(place.admin_dsn, rounds=max(3, round(11 * share)), seconds=1.0)
    _add(
        report,
        5,
        "commits/s with hints / without, 32 writers, 1 ms flush",
        f"{rates.hinting:,.0f} / {rates.plain:,.0f}, by rounds {rates.ratio:.2f}",
        f"pg_notify inside: {rates.ratio_inside:.2f}",
    )
    report.gates += [
        Gate("5: transactions and functions that notify", said.inside + said.functions, "at most", 0),
        Gate("5: orders published by another process's relay", said.published, "at least", said.placed),
        Gate("5 control: a notification inside a transaction is seen", said.control_inside, "at least", 1),
        Gate("5: commits/s with our hints / without", rates.ratio, "at least", 0.9),
        Gate("5 control: pg_notify in the transaction", rates.ratio_inside, "at most", 0.9),
    ]


async def _consumer(report: Report, place: Place, share: float) -> None:
    """7 and 10: overlapping owners, records read again, failures: once each, in order, others go on."""
    fared = await gate_consumer.torture_consumer(
        place.dsn, place.admin_dsn, SERVICE, events=max(2_000, round(12_000 * share))
    )
    ours = f"{fared.events:,} events, {fared.parked} parked: {fared.wrong} wrong, {fared.held_up} held up"
    control = (
        f"without inbox {fared.doubled_without_inbox} doubled, without parking"
        f" {fared.held_up_without_parking} keys held up"
    )
    _add(report, 7, "consumer torture", ours, control)
    report.gates += [
        Gate("7: doubled, lost or out of order", fared.wrong, "at most", 0),
        Gate("7 control: without the inbox, doubled", fared.doubled_without_inbox, "at least", 1),
        Gate("10: keys held up by another key's poison", fared.held_up, "at most", 0),
        Gate("10: poison records parked and visible", fared.parked, "at least", 1),
        Gate("10 control: without parking, keys held up", fared.held_up_without_parking, "at least", 1),
    ]


async def _parking(report: Report, place: Place, _: float) -> None:
    """10: rows the broker refuses stop their keys alone; retried they go on in order, skipped it says why."""
    fared = await gate_parking.torture_parking(place.dsn, place.admin_dsn)
    ours = (
        f"{fared.visible} rows parked: {fared.held_up} keys held up, {fared.overtaken} overtaken;"
        f" retry and skip: {fared.wrong_after + fared.without_reason} wrong"
    )
    _add(report, 10, "poison in the outbox", ours, f"without parking {fared.control_held_up} keys held up")
    report.gates += [
        Gate("10: keys held up or overtaken in the outbox", fared.held_up + fared.overtaken, "at most", 0),
        Gate("10: refused rows parked and visible", fared.visible, "at least", 1),
        Gate(
            "10: retries and skips not carried out, or without a reason",
            fared.wrong_after + fared.without_reason,
            "at most",
            0,
        ),
        Gate("10 control: a relay without parking holds keys up", fared.control_held_up, "at least", 1),
    ]


GATES: Final[Sequence[tuple[int, Callable[[Report, Place, float], Awaitable[None]]]]] = (
    (1, _reader),
    (2, _failover),
    (3, _backlog),
    (4, _rotation),
    (5, _notify),
    (7, _consumer),
    (10, _parking),
)
"""By number; the consumer's torture is also half of gate 10."""
