"""An inventory database, and a shop in it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from services.chassis.db import Database
from tests.conftest import Database as Made
from tests.integration.inventory.shop import Shop

MakeDatabase: TypeAlias = Callable[[str], Awaitable[Made]]


@pytest.fixture
async def shop(database: MakeDatabase) -> AsyncIterator[Shop]:
    made = await database("inventory")
    db = Database(made.dsn, name="test", size=8)
    yield Shop(db, made.admin_dsn)
    await db.close()
