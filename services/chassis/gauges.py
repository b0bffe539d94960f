"""What the tables say about the work, as gauges: every process measures, so they stay true when one dies.

A number that its process sets where it happens is gone with the process, and wrong in one that no longer
leads. These are measured anew every few seconds, by every replica; `kb_measured_timestamp_seconds` says when,
so that numbers nobody measures any more are not taken for the truth.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from prometheus_client import Gauge

from services.chassis import outbox_metrics as outbox
from services.chassis import reconciler_runs, retrier
from services.chassis.db import Database, Tx
from services.chassis.reconciler import HEALED, STUCK, Reconciler, show

Measure = Callable[[Tx], Awaitable[None]]

MEASURE_EVERY_S: Final = 5.0
MEASURED: Final = Gauge("kb_measured_timestamp_seconds", "Unix time of the last good look.", ["what"])
PARKED: Final = Gauge("kb_parked_messages", "Records set aside and still there.", ["topic", "state"])
PARKED_AGE: Final = Gauge(
    "kb_parked_oldest_age_seconds", "How long ago the oldest of them failed first.", ["topic", "state"]
)
FAILED: Final = Gauge(
    "kb_failed_messages", "Records that failed by themselves so lately, whatever became of them.", ["within"]
)

COUNTED: Final = 10_000
# The index on the state keeps equal states in the order they were written, so the oldest are among these.
OPEN: Final = """
    select topic, state, count(*) as records,
           extract(epoch from clock_timestamp() - min(first_failed_at))::float8 as oldest_s
    from (
        select topic, state, first_failed_at from inbox_parked where state in ('parked', 'dead') limit $1
    ) as waiting
    group by topic, state
"""
# Those that merely wait behind another one are no failures of their own.
FAILED_LATELY: Final = """
    select count(*) filter (where first_failed_at > clock_timestamp() - $2::interval) as lately,
           count(*) as today
    from (select first_failed_at, reason from inbox_parked order by id desc limit $1) as newest
    where reason <> 'BEHIND' and first_failed_at > clock_timestamp() - $3::interval
"""
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
REFUSED: Final = """
    select count(*) as rows,
           coalesce(extract(epoch from clock_timestamp() - min(parked_at)), 0)::float8 as oldest_s
    from outbox_parked
    where state in ('parked', 'retry')
"""
LEAVES: Final = """
    select slot, pg_total_relation_size(format('outbox_%s', slot)::regclass) as bytes
    from generate_series(0, 7) as slot
"""
CURSOR: Final = """
    select pg_snapshot_xmax(pg_current_snapshot())::text::bigint
           - min(pg_snapshot_xmin(snap)::text::bigint)
    from outbox_shard
"""


async def keep_measuring(db: Database, measures: Sequence[Measure], stopping: asyncio.Event) -> None:
    """All of them, every few seconds, until `stopping`; raises what the database raises, to be run again."""
    while not stopping.is_set():
        async with db.transaction() as tx:
            for measure in measures:
                await measure(tx)
        MEASURED.labels("tables").set_to_current_time()
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), MEASURE_EVERY_S)


def of_every_service(duties: Sequence[Reconciler]) -> tuple[Measure, ...]:
    """What is measured wherever there are tables; from now on silence of these duties shows."""
    expect("tables")
    for duty in duties:
        if duty.alarm is None:
            HEALED.labels(duty.name)  # a counter that begins with its first heal would hide that one

    async def measure_duties(tx: Tx) -> None:
        """When each of them last succeeded, whether it is paused, what waits for somebody."""
        turns = await reconciler_runs.turns_of(tx, [(duty.name, duty.every_s) for duty in duties])
        for duty in duties:
            show(duty, turns[duty.name])

    return measure_outbox, measure_inbox, measure_duties


def expect(what: str) -> None:
    """From now on it shows when this is not measured."""
    MEASURED.labels(what).set_to_current_time()


async def measure_outbox(tx: Tx) -> None:
    """How much is put aside, how far behind the slowest cursor is, and how much room the ring takes."""
    refused = await tx.fetchrow(REFUSED)
    assert refused is not None, "an aggregate always has one row"
    outbox.WAITING.set(refused["rows"])
    outbox.WAITING_AGE.set(refused["oldest_s"])
    outbox.CURSOR_AGE.set(await tx.fetchval(CURSOR))
    for leaf in await tx.fetch(LEAVES):
        outbox.LEAF_BYTES.labels(leaf["slot"]).set(leaf["bytes"])


async def measure_inbox(tx: Tx) -> None:
    """What is parked, how much failed lately, and how many keys nobody retries."""
    rows = await tx.fetch(OPEN, COUNTED)
    refill(PARKED, {(row["topic"], row["state"]): row["records"] for row in rows})
    refill(PARKED_AGE, {(row["topic"], row["state"]): row["oldest_s"] for row in rows})
    failed = await tx.fetchrow(FAILED_LATELY, COUNTED, HOUR, DAY)
    assert failed is not None, "an aggregate always has one row"
    FAILED.labels("1h").set(failed["lately"])
    FAILED.labels("24h").set(failed["today"])
    STUCK.labels("retry").set(await retrier.overdue(tx, COUNTED))


def refill(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Exactly these, at once: what is not among them is over, and nobody reads in between."""
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
