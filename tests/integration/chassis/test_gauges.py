"""The gauges every process keeps: they say what the tables say, whoever wrote it and whoever died since."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from services.chassis import gauges
from services.chassis.db import Database, Tx
from services.chassis.reconciler import STUCK, every, run_once
from tests.support.waiting import until

PARK = """
    insert into inbox_parked (consumer, topic, part, kafka_offset, key, headers, state, reason, error,
                              first_failed_at)
    values (3001, 'payment.verified', 0, $1, 'key', '{}', $2, $3, 'no', now() - make_interval(secs => $4))
"""
REFUSE = """
    insert into outbox_parked (id, part, topic, key, key_seq, event_id, subject_kind, payload,
                               created_at, error, parked_at)
    values (1, 0, 'order.placed', 'key', 1, gen_random_uuid(), 'order', '', now(), 'too large',
            now() - interval '90 seconds')
"""
FOUND = """
    insert into reconciler_runs (name, last_run_at, last_success_at, last_found, paused_at, paused_until,
                                 paused_by, paused_reason)
    values ($1, now(), now(), $2, now(), now() + interval '1 h', gen_random_uuid(), 'a test')
"""
BLOCK = """
    insert into inbox_block (consumer, key, next_at) values (3001, 'key', now() - make_interval(secs => $1))
    on conflict (consumer, key) do update set next_at = excluded.next_at
"""


@every(seconds=7)
async def a_duty(_: Tx, __: datetime) -> int:
    """Finds nothing."""
    return 0


async def nothing_to_read(_: object) -> bool:
    return True


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
async def db(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[tuple[Database, asyncpg.Connection]]:
    made = await database("orders")
    pool, admin = Database(made.dsn, name="gauges-test"), await asyncpg.connect(made.admin_dsn)
    yield pool, admin
    await admin.close()
    await pool.close()


async def measure(pool: Database) -> None:
    async with pool.transaction() as tx:
        for one in gauges.of_every_service([a_duty]):
            await one(tx)


async def test_parked_records_are_told_by_topic_and_state_with_the_age_of_the_oldest(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, admin = db
    await admin.execute(PARK, 1, "dead", "NEVER", 7200.0)
    await admin.execute(PARK, 2, "parked", "ValueError", 600.0)
    await admin.execute(PARK, 3, "parked", "BEHIND", 30.0)
    await measure(pool)
    assert shown("kb_parked_messages", topic="payment.verified", state="parked") == 2
    assert shown("kb_parked_messages", topic="payment.verified", state="dead") == 1
    oldest = shown("kb_parked_oldest_age_seconds", topic="payment.verified", state="parked")
    assert oldest is not None
    assert 600 <= oldest < 660


async def test_what_only_waits_behind_another_is_no_failure_of_its_own(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, admin = db
    await admin.execute(PARK, 1, "dead", "NEVER", 7200.0)
    await admin.execute(PARK, 3, "replayed", "ValueError", 600.0)
    await admin.execute(PARK, 4, "parked", "BEHIND", 30.0)
    await measure(pool)
    assert shown("kb_failed_messages", within="1h") == 1
    assert shown("kb_failed_messages", within="24h") == 2


async def test_what_was_parked_and_is_no_more_is_not_shown_any_longer(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, admin = db
    await admin.execute(PARK, 1, "parked", "ValueError", 600.0)
    await measure(pool)
    await admin.execute("update inbox_parked set state = 'replayed'")
    await measure(pool)
    assert shown("kb_parked_messages", topic="payment.verified", state="parked") is None


async def test_rows_the_broker_refused_are_told_with_their_age(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, admin = db
    await measure(pool)
    assert (shown("kb_outbox_parked"), shown("kb_outbox_parked_oldest_age_seconds")) == (0, 0)
    await admin.execute(REFUSE)
    await measure(pool)
    assert shown("kb_outbox_parked") == 1
    assert (shown("kb_outbox_parked_oldest_age_seconds") or 0) >= 90


async def test_the_ring_and_the_slowest_cursor_are_measured(db: tuple[Database, asyncpg.Connection]) -> None:
    pool, admin = db
    await measure(pool)
    before = shown("kb_outbox_cursor_age_xids")
    for _ in range(5):
        await admin.fetchval("select pg_current_xact_id()")
    await measure(pool)
    assert before is not None
    assert (shown("kb_outbox_cursor_age_xids") or 0) >= before + 5
    assert all((shown("kb_outbox_leaf_bytes", leaf=str(leaf)) or 0) > 0 for leaf in range(8))


async def test_a_duty_that_another_process_ran_counts_here_too_and_one_that_never_ran_shows(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, admin = db
    await measure(pool)
    assert shown("kb_reconciler_last_success_timestamp_seconds", reconciler="a_duty") == 0
    assert shown("kb_healed_total", reconciler="a_duty") == 0
    assert await run_once(a_duty, pool, nothing_to_read) == 0
    await measure(pool)
    at = await admin.fetchval("select extract(epoch from last_success_at)::float8 from reconciler_runs")
    assert shown("kb_reconciler_last_success_timestamp_seconds", reconciler="a_duty") == at


async def test_what_an_alarm_found_elsewhere_shows_here_within_one_look_and_so_does_a_pause(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, admin = db
    alarm = replace(a_duty, alarm=STUCK.labels("gauged"))
    await admin.execute(FOUND, "a_duty", 3)
    async with pool.transaction() as tx:
        for one in gauges.of_every_service([alarm]):
            await one(tx)
    assert shown("kb_stuck_work", kind="gauged") == 3
    assert shown("kb_reconciler_paused", reconciler="a_duty") == 1


async def test_a_key_that_is_due_for_a_minute_and_not_retried_is_stuck(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, admin = db
    await admin.execute(BLOCK, 59.0)
    await measure(pool)
    assert shown("kb_stuck_work", kind="retry") == 0
    await admin.execute(BLOCK, 61.0)
    await measure(pool)
    assert shown("kb_stuck_work", kind="retry") == 1


async def test_measuring_goes_on_until_it_is_asked_to_stop_and_says_when_it_last_worked(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, _ = db
    stopping, looks = asyncio.Event(), [0]

    async def look(_: Tx) -> None:
        looks[0] += 1

    gauges.MEASURED.labels("tables").set(0)
    running = asyncio.create_task(gauges.keep_measuring(pool, [look], stopping))

    async def measured() -> bool:
        return (shown("kb_measured_timestamp_seconds", what="tables") or 0) > 0

    await until(measured)
    stopping.set()
    await running
    assert looks == [1]


async def test_numbers_of_a_database_that_is_away_grow_old_instead_of_being_told_anew(
    db: tuple[Database, asyncpg.Connection],
) -> None:
    pool, _ = db

    async def cannot(_: Tx) -> None:
        raise ConnectionError("away")

    gauges.MEASURED.labels("tables").set(1)
    with pytest.raises(ConnectionError):
        await gauges.keep_measuring(pool, [cannot], asyncio.Event())
    assert shown("kb_measured_timestamp_seconds", what="tables") == 1
