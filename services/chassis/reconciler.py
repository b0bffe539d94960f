"""Reconcilers ask "what should have moved by now?" and call the action the event would have called."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from time import perf_counter
from typing import Final, TypeAlias

import structlog
from prometheus_client import Counter, Gauge, Histogram

from services.chassis import outbox, reconciler_runs
from services.chassis.db import Database, Tx

Heal = Callable[[Tx, datetime], Awaitable[int]]
Look = Callable[[Tx, datetime], Awaitable[bool]]
CaughtUp = Callable[[Sequence[str]], Awaitable[bool]]
Also = Callable[[Tx, int], Awaitable[None]]

LOG = structlog.get_logger("reconciler")
RUNS = Counter("kb_reconciler_runs_total", "Rounds, by how they ended.", ["reconciler", "outcome"])
FOUND = Counter("kb_reconciler_found_total", "Things that should have moved by now.", ["reconciler"])
HEALED = Counter("kb_healed_total", "Things a reconciler moved.", ["reconciler"])
FAILED = Counter("kb_reconciler_failures_total", "Runs that failed.", ["reconciler"])
LAST_SUCCESS = Gauge(
    "kb_reconciler_last_success_timestamp_seconds",
    "Unix time of the last good run, by any process that shares the database.",
    ["reconciler"],
)
PAUSED = Gauge("kb_reconciler_paused", "1 while an operator has paused it.", ["reconciler"])
PERIOD = Gauge("kb_reconciler_period_seconds", "How often it looks.", ["reconciler"])
STUCK = Gauge(
    "kb_stuck_work", "Things that should have moved by now, and that no duty moved or may move.", ["kind"]
)
DURATION = Histogram("kb_reconciler_duration_seconds", "How long a run took.", ["reconciler"])

SHORTLY: Final = 0.2
"""The share of a round after which a process that was not first looks again: the one that was may die."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One healing duty: how often it looks (seconds, jittered), and what it does; it returns how many moved.

    With `once_read`, it runs only when the service's own group has read these topics to their ends, so that a
    long outage does not end what events still waiting to be read have saved; `heal` then gets a time from
    before that check. It costs the broker some connections: with `due` it is asked only if that says so.
    `unread` is what is done instead while they are not read, or while the broker cannot be asked.
    One with an `alarm` moves nothing: it says how much waits for somebody else, on that gauge, which every
    process shows as whichever of them looked last has found it. Nothing else writes to that gauge.
    """

    name: str
    every_s: float
    heal: Heal
    once_read: tuple[str, ...] = ()
    due: Look | None = None
    alarm: Gauge | None = None
    unread: Heal | None = None


def every(
    *,
    seconds: float,
    once_read: Sequence[str] = (),
    due: Look | None = None,
    alarm: Gauge | None = None,
    unread: Heal | None = None,
) -> Callable[[Heal], Reconciler]:
    """Run the function about every so many seconds, in one process at a time, in a transaction of its own."""

    def register(heal: Heal) -> Reconciler:
        return Reconciler(heal.__name__, seconds, heal, tuple(once_read), due, alarm, unread)

    return register


class Skipped(StrEnum):
    """Why a round did not run."""

    PAUSED = "paused"
    NOT_YET = "not its turn"
    LED_ELSEWHERE = "another process runs it"
    BEHIND = "topics not read to their ends"


@dataclass(frozen=True, slots=True)
class Ran:
    """A run: how much it found; of a dry run also the (topic, key) of what it would have told, bounded."""

    found: int
    tells: tuple[tuple[str, str], ...] = ()


Outcome: TypeAlias = Ran | Skipped


class _UndoneError(Exception):
    """Leaves the transaction of a dry run, so that nothing of it stays."""

    def __init__(self, ran: Ran) -> None:
        super().__init__()
        self.ran = ran


async def run_once(reconciler: Reconciler, db: Database, caught_up: CaughtUp) -> int | None:
    """One run: how many it moved, or None when another process leads or topics are not read to the end."""
    outcome = await attempt(reconciler, db, caught_up)
    count(reconciler, outcome)
    return outcome.found if isinstance(outcome, Ran) else None


async def attempt(
    reconciler: Reconciler,
    db: Database,
    caught_up: CaughtUp,
    *,
    in_turn: bool = False,
    also: Also | None = None,
) -> Outcome:
    """One run now; `in_turn`: only if it is neither paused nor done already by another process.

    `also` is done in the transaction of the run, with what was found.
    """

    async def lead(tx: Tx, due_at: datetime | None) -> Outcome:
        # Asked again, now that nobody else runs: two that woke together shall not both run.
        if in_turn and (skipped := await _out_of_turn(tx, reconciler)):
            return skipped
        ran = Ran(0 if due_at is None else await reconciler.heal(tx, due_at))
        await reconciler_runs.beat(tx, reconciler.name, ran.found, _jittered(reconciler.every_s))
        if also is not None:
            await also(tx, ran.found)
        return ran

    outcome = await _lead(reconciler, db, caught_up, lead, in_turn=in_turn)
    if outcome is Skipped.BEHIND and reconciler.unread is not None:
        await _meanwhile(reconciler, reconciler.unread, db)
    return outcome


async def _meanwhile(reconciler: Reconciler, unread: Heal, db: Database) -> None:
    """What is done while the topics are not read: a round like any other, in which nothing is healed."""
    async with db.transaction() as tx:
        if await reconciler_runs.try_lead(tx, reconciler.name):
            await unread(tx, await tx.now())
            await reconciler_runs.postpone(tx, reconciler.name, _jittered(reconciler.every_s))


async def dry_run(reconciler: Reconciler, db: Database, caught_up: CaughtUp) -> Outcome:
    """What a run would find and tell; its transaction is rolled back."""

    async def lead(tx: Tx, due_at: datetime | None) -> Outcome:
        found = 0 if due_at is None else await reconciler.heal(tx, due_at)
        raise _UndoneError(Ran(found, await outbox.told_here(tx)))

    try:
        return await _lead(reconciler, db, caught_up, lead, in_turn=False)
    except _UndoneError as undone:
        return undone.ran


async def _lead(
    reconciler: Reconciler,
    db: Database,
    caught_up: CaughtUp,
    lead: Callable[[Tx, datetime | None], Awaitable[Outcome]],
    *,
    in_turn: bool,
) -> Outcome:
    """Call `lead` in a transaction that is alone with this duty; it is given the time to heal by."""
    async with db.transaction() as tx:
        if in_turn and (skipped := await _out_of_turn(tx, reconciler)):
            return skipped
        as_of = await tx.now()
        due = reconciler.due is None or await reconciler.due(tx, as_of)
    if reconciler.once_read and due and not await caught_up(reconciler.once_read):
        LOG.info("not caught up", reconciler=reconciler.name, topics=reconciler.once_read)
        return Skipped.BEHIND
    async with db.transaction() as tx:
        if not await reconciler_runs.try_lead(tx, reconciler.name):
            return Skipped.LED_ELSEWHERE
        return await lead(tx, as_of if due else None)


async def _out_of_turn(tx: Tx, reconciler: Reconciler) -> Skipped | None:
    turn = await reconciler_runs.turn_of(tx, reconciler.name, reconciler.every_s)
    show(reconciler, turn)
    if turn.paused:
        return Skipped.PAUSED
    return Skipped.NOT_YET if turn.wait_s > 0 else None


def show(reconciler: Reconciler, turn: reconciler_runs.Turn) -> None:
    """What the table says of it, whichever process ran it; a success that never was is of 1970."""
    PAUSED.labels(reconciler.name).set(turn.paused)
    LAST_SUCCESS.labels(reconciler.name).set(turn.last_success or 0)
    if reconciler.alarm is not None:
        reconciler.alarm.set(turn.last_found)


async def keep_running(
    reconciler: Reconciler, db: Database, caught_up: CaughtUp, stopping: asyncio.Event
) -> None:
    """Take part in its rounds until `stopping`; a failed run is counted, recorded, tried again."""
    PERIOD.labels(reconciler.name).set(reconciler.every_s)
    while not stopping.is_set():
        wait_s = await _wait_after(reconciler, db, await take_turn(reconciler, db, caught_up))
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), wait_s)


async def take_turn(reconciler: Reconciler, db: Database, caught_up: CaughtUp) -> Outcome | None:
    """One round, counted; None when it failed."""
    started_at = perf_counter()
    try:
        outcome: Outcome | None = await attempt(reconciler, db, caught_up, in_turn=True)
    except Exception as error:  # noqa: BLE001 - any failure is recorded and the next round tries again
        FAILED.labels(reconciler.name).inc()
        RUNS.labels(reconciler.name, "failed").inc()
        LOG.warning("failed", reconciler=reconciler.name, error=repr(error)[:500])
        await _complain(reconciler, db, error)
        outcome = None
    if not isinstance(outcome, Skipped):
        DURATION.labels(reconciler.name).observe(perf_counter() - started_at)
    if outcome is not None:
        count(reconciler, outcome)
    return outcome


def count(reconciler: Reconciler, outcome: Outcome) -> None:
    """Count a round that has been committed; those that were another process's turn are not counted."""
    if isinstance(outcome, Skipped):
        if outcome is not Skipped.NOT_YET:
            RUNS.labels(reconciler.name, outcome.name.lower()).inc()
        return
    RUNS.labels(reconciler.name, "ok").inc()
    LAST_SUCCESS.labels(reconciler.name).set_to_current_time()
    FOUND.labels(reconciler.name).inc(outcome.found)
    if reconciler.alarm is not None:
        reconciler.alarm.set(outcome.found)
    elif outcome.found:
        HEALED.labels(reconciler.name).inc(outcome.found)
        LOG.info("healed", reconciler=reconciler.name, found=outcome.found)


async def _wait_after(reconciler: Reconciler, db: Database, outcome: Outcome | None) -> float:
    """Seconds until this process looks again: the table says when the next round is, whoever had the last."""
    if outcome is None or outcome is Skipped.BEHIND or outcome is Skipped.PAUSED:
        return _jittered(reconciler.every_s)
    if outcome is Skipped.LED_ELSEWHERE:
        return _jittered(reconciler.every_s * SHORTLY)
    try:
        async with db.transaction() as tx:
            turn = await reconciler_runs.turn_of(tx, reconciler.name, reconciler.every_s)
    except Exception as error:  # noqa: BLE001 - the next round will say so aloud
        LOG.info("cannot ask for its turn", reconciler=reconciler.name, error=repr(error)[:200])
        return _jittered(reconciler.every_s)
    return turn.wait_s or _jittered(reconciler.every_s * SHORTLY)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret


async def _complain(reconciler: Reconciler, db: Database, error: Exception) -> None:
    try:
        async with db.transaction() as tx:
            await reconciler_runs.complain(tx, reconciler.name, repr(error))
    except Exception as second:  # noqa: BLE001 - the database itself is away; the metric and the log have said so
        LOG.warning("cannot record the failure", reconciler=reconciler.name, error=repr(second)[:200])
