"""What the tests of the chassis share: a service that hears one topic and writes down what took effect."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from services.chassis.db import Database
from tests.support.effects import EFFECTS, Effects


@pytest.fixture
async def effects(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Effects]:
    made = await database("notifications")
    admin = await asyncpg.connect(made.admin_dsn)
    await admin.execute(EFFECTS)
    await admin.execute("grant select, insert on effects to kb_notifications")
    db = Database(made.dsn, name="test")
    yield Effects(db, admin)
    await db.close()
    await admin.close()
