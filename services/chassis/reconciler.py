"""Reconcilers ask "what should have moved by now?" and call the action the event would have called."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from prometheus_client import Counter, Gauge, Histogram

from services.chassis.db import Database, Tx

Heal = Callable[[Tx, datetime], Awaitable[int]]
Look = Callable[[Tx, datetime], Awaitable[bool]]
CaughtUp = Callable[[Sequence[str]], Awaitable[bool]]

LOG = structlog.get_logger("reconciler")
HEALED = Counter("kb_healed_total", "Things a reconciler moved or raised an alarm about.", ["reconciler"])
FAILED = Counter("kb_reconciler_failures_total", "Runs that failed.", ["reconciler"])
LAST_SUCCESS = Gauge(
    "kb_reconciler_last_success_timestamp_seconds", "Unix time of the last good run.", ["reconciler"]
)
STUCK = Gauge(
    "kb_stuck_work", "Things that should have moved by now and that nobody here may move.", ["kind"]
)
DURATION = Histogram("kb_reconciler_duration_seconds", "How long a run took.", ["reconciler"])

# One process at a time: whoever holds the lock runs, the others skip this round.
TRY_LEAD = "select pg_try_advisory_xact_lock(hashtextextended('reconciler:' || $1, 0))"
NOW = "select now()"
HEARTBEAT = """
    insert into reconciler_runs (name, last_run_at, last_success_at, last_found)
    values ($1, now(), now(), $2)
    on conflict (name) do update
    set last_run_at = now(), last_success_at = now(), last_found = excluded.last_found, last_error = null
"""
COMPLAINT = """
    insert into reconciler_runs (name, last_run_at, last_error) values ($1, now(), $2)
    on conflict (name) do update set last_run_at = now(), last_error = excluded.last_error
"""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One healing duty: how often it looks (seconds, jittered), and what it does; it returns how many moved.

    With `once_read`, it runs only when the service's own group has read these topics to their ends, so that a
    long outage does not end what events still waiting to be read have saved; `heal` then gets a time from
    before that check. It costs the broker some connections: with `due` it is asked only if that says so.
    """

    name: str
    every_s: float
    heal: Heal
    once_read: tuple[str, ...] = ()
    due: Look | None = None


def every(
    *, seconds: float, once_read: Sequence[str] = (), due: Look | None = None
) -> Callable[[Heal], Reconciler]:
    """Run the function about every so many seconds, in one process at a time, in a transaction of its own."""

    def register(heal: Heal) -> Reconciler:
        return Reconciler(heal.__name__, seconds, heal, tuple(once_read), due)

    return register


async def run_once(reconciler: Reconciler, db: Database, caught_up: CaughtUp) -> int | None:
    """One run: how many it moved, or None when another process leads or topics are not read to the end."""
    async with db.transaction() as tx:
        as_of = await tx.now()
        due = reconciler.due is None or await reconciler.due(tx, as_of)
    if reconciler.once_read and due and not await caught_up(reconciler.once_read):
        LOG.info("not caught up", reconciler=reconciler.name, topics=reconciler.once_read)
        return None
    async with db.transaction() as tx:
        if not await tx.fetchval(TRY_LEAD, reconciler.name):
            return None
        found = await reconciler.heal(tx, as_of) if due else 0
        await tx.execute(HEARTBEAT, reconciler.name, found)
    return found


async def keep_running(
    reconciler: Reconciler, db: Database, caught_up: CaughtUp, stopping: asyncio.Event
) -> None:
    """Run it again and again until `stopping`; a failed run is counted, recorded, tried again."""
    while not stopping.is_set():
        await _run_counted(reconciler, db, caught_up)
        pause = reconciler.every_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
        try:
            await asyncio.wait_for(stopping.wait(), pause)
        except TimeoutError:
            continue


async def _run_counted(reconciler: Reconciler, db: Database, caught_up: CaughtUp) -> None:
    try:
        with DURATION.labels(reconciler.name).time():
            found = await run_once(reconciler, db, caught_up)
    except Exception as error:  # noqa: BLE001 - any failure is recorded and the next round tries again
        FAILED.labels(reconciler.name).inc()
        LOG.warning("failed", reconciler=reconciler.name, error=repr(error)[:500])
        await _complain(reconciler, db, error)
        return
    if found is None:
        return
    LAST_SUCCESS.labels(reconciler.name).set_to_current_time()
    if found:
        HEALED.labels(reconciler.name).inc(found)
        LOG.info("healed", reconciler=reconciler.name, found=found)


async def _complain(reconciler: Reconciler, db: Database, error: Exception) -> None:
    try:
        async with db.transaction() as tx:
            await tx.execute(COMPLAINT, reconciler.name, repr(error)[:1000])
    except Exception as second:  # noqa: BLE001 - the database itself is away; the metric and the log have said so
        LOG.warning("cannot record the failure", reconciler=reconciler.name, error=repr(second)[:200])
