"""The database of orders, and its HTTP front."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.chassis.db import Database
from tests.integration.orders.front import Front, open_front
from tests.integration.orders.world import Orders


@pytest.fixture
async def orders(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Orders]:
    made = await database("orders")
    db = Database(made.dsn, name="orders-test", size=10)
    try:
        yield Orders(db, made.admin_dsn)
    finally:
        await db.close()


@pytest.fixture
async def front(orders: Orders, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(orders, tmp_path) as opened:
        yield opened
