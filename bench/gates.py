"""The gates of the delivery mechanics at full length, each beside the design it replaced, which must fail."""

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import gate_consumer, gate_cost, gate_outage, gate_parking, gate_visible, gate_writers
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
    ground: Ground


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
    return Place(dsn, ground.database(database), ground)


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


async def _outage(report: Report, place: Place, share: float) -> None:
    """6: the broker away for a quarter of an hour: nothing lost, nobody needed, and soon caught up."""
    away_s, events = gate_outage.FULL_S * share, max(20_000, round(200_000 * share))
    fared = await gate_outage.torture_outage(place.ground, place.dsn, away_s=away_s, events=events)
    ours = (
        f"{fared.told:,} events: {fared.lost} lost; first after {fared.first_s:.1f} s, then"
        f" {fared.drained_per_s:,.0f}/s; {fared.replaced} producers replaced"
    )
    control = f"given up after ten tries: {fared.control_lost:,} of {gate_outage.SOME:,}"
    _add(report, 6, f"broker away for {away_s:,.0f} s", ours, control)
    report.gates += [
        Gate("6: events lost", fared.lost, "at most", 0),
        Gate(
            "6: events/s drained, on cores shared with broker and database",
            fared.drained_per_s,
            "at least",
            10_000,
        ),
        Gate("6 control: a queue that gives up after ten tries loses", fared.control_lost, "at least", 1),
    ]
    if away_s > gate_outage.ABANDONED_AFTER_S:
        report.gates.append(
            Gate("6: abandoned producers replaced by themselves", fared.replaced, "at least", 1)
        )


async def _cost(report: Report, place: Place, share: float) -> None:
    """8: an event in a batch costs a fraction of one that has a transaction to itself."""
    fared = await gate_cost.torture_cost(
        place.dsn,
        place.admin_dsn,
        SERVICE,
        postgres_pid=place.ground.postgres_pid,
        events=max(10_000, round(40_000 * share)),
    )
    together, alone, savepoints = (one.server_us for one in (fared.together, fared.alone, fared.savepoints))
    ours = f"{together:.1f} us an event in batches, {alone:.0f} us alone ({alone / together:.0f}x)"
    control = f"savepoint each: {savepoints:.0f} us ({alone / savepoints:.1f}x)"
    _add(report, 8, "CPU of the database", ours, control)
    whole = fared.alone.whole_us / fared.together.whole_us
    told = f"{fared.together.whole_us:.1f} us, {fared.alone.whole_us:.0f} alone ({whole:.0f}x)"
    _add(report, 8, "CPU of database and consumer", told, f"{fared.savepoints.whole_us:.0f} us")
    report.gates += [
        Gate("8: events without effect, or with more than one", fared.wrong, "at most", 0),
        Gate("8: a transaction each / in batches, CPU of the database", alone / together, "at least", 20),
        Gate("8 control: a savepoint each in one transaction", alone / savepoints, "at most", 20),
    ]


async def _visible(report: Report, place: Place, share: float) -> None:
    """9: a relay that died is seen in what any other process says of the outbox."""
    rounds = max(20, round(200 * share))
    fared = await gate_visible.torture_visibility(place.dsn, rounds=rounds)
    told = f"seen {fared.after_s:.1f} s after the first event it left"
    _add(report, 9, "dead relay", told, f"beside a living one: {fared.false_alarms} of {rounds} looks")
    report.gates += [
        Gate("9: seconds until a dead relay is seen", fared.after_s, "at most", 15),
        Gate("9 control: seen beside a living one", fared.false_alarms, "at most", 0),
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
    (6, _outage),
    (7, _consumer),
    (8, _cost),
    (9, _visible),
    (10, _parking),
)
"""By number; the consumer's torture is also half of gate 10. That a trace leads from the request through the
outbox to the consumer is a test, and no figure."""
NEED_A_BROKER: Final = (0, 6)
"""What `only` may be for it; the others torture what stands before it."""
