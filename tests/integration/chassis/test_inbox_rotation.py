"""The inbox ring is emptied before its days come round again, and never what is still needed."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.chassis.db import Database
from services.chassis.inbox import SLOTS, slot_of
from services.chassis.inbox_rotation import empty_old_inbox_days, slot_to_empty
from services.chassis.records import RING_DAYS

NOW = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
INSERT = "insert into inbox (slot, consumer, event_id) values ($1, 1, $2)"


def id_of(moment: datetime) -> UUID:
    """An event id made at that time."""
    return UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62)


@pytest.mark.parametrize("hour", range(24))
def test_what_can_still_be_read_is_never_in_the_slot_that_is_emptied(hour: int) -> None:
    now = NOW.replace(hour=hour)
    readable = {slot_of(id_of(now - timedelta(days=age))) for age in range(RING_DAYS + 1)}
    assert slot_to_empty(now) not in readable | {slot_of(id_of(now + timedelta(days=1)))}
    assert len(readable) < SLOTS


async def test_an_old_day_is_forgotten_and_the_others_stay(database: Callable[[str], Awaitable[Any]]) -> None:
    made = await database("notifications")
    admin, db = await asyncpg.connect(made.admin_dsn), Database(made.dsn, name="test")
    for age in range(39):
        event_id = id_of(NOW - timedelta(days=age))
        await admin.execute(INSERT, slot_of(event_id), event_id)
    async with db.transaction() as tx:
        assert await empty_old_inbox_days.heal(tx, NOW) == 1
        assert await empty_old_inbox_days.heal(tx, NOW) == 0
    left = {row["event_id"] for row in await admin.fetch("select event_id from inbox")}
    assert left == {id_of(NOW - timedelta(days=age)) for age in range(38)}
    await db.close()
    await admin.close()


async def test_a_busy_day_is_left_for_the_next_time(database: Callable[[str], Awaitable[Any]]) -> None:
    made = await database("notifications")
    admin, db = await asyncpg.connect(made.admin_dsn), Database(made.dsn, name="test")
    old = id_of(NOW - timedelta(days=38))
    await admin.execute(INSERT, slot_of(old), old)
    async with admin.transaction():
        await admin.execute("select from inbox")
        async with db.transaction() as tx:
            assert await empty_old_inbox_days.heal(tx, NOW) == 0
    assert await admin.fetchval("select count(*) from inbox") == 1
    await db.close()
    await admin.close()
