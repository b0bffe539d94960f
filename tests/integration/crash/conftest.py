"""A place for each service's scenarios."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.payments import gateways
from tests.fakes.esewa import running_simulator
from tests.integration.crash import of_inventory, of_orders, of_payments
from tests.integration.crash.place import Place, opened, tried
from tests.integration.inventory.shop import Shop
from tests.integration.orders.world import Orders
from tests.integration.payments.desk import Desk
from tests.support.crash.trying import Scenario, Tried
from tests.support.tokens import tokens_in

Try = Callable[[Scenario], Awaitable[Tried]]
MakeDatabase = Callable[[str], Awaitable[Any]]


@pytest.fixture
async def try_orders(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Try]:
    made = await database("orders")
    async with opened(made.dsn, made.admin_dsn) as (db, admin):
        service = of_orders.wired(made.dsn, tmp_path)
        place = Place(service, Orders(db, made.admin_dsn), admin, tokens_in(tmp_path))
        yield lambda scenario: tried(place, made.dsn, scenario)


@pytest.fixture
async def try_inventory(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Try]:
    made = await database("inventory")
    async with opened(made.dsn, made.admin_dsn) as (db, admin):
        service = of_inventory.wired(made.dsn, tmp_path)
        place = Place(service, Shop(db, made.admin_dsn), admin, tokens_in(tmp_path))
        yield lambda scenario: tried(place, made.dsn, scenario)


@pytest.fixture
async def try_payments(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Try]:
    made = await database("payments")
    async with running_simulator() as simulator, opened(made.dsn, made.admin_dsn) as (db, admin):
        service = of_payments.wired(made.dsn, tmp_path, simulator)
        desk = Desk(db, admin, gateways.in_use(), simulator)
        place = Place(service, desk, admin, tokens_in(tmp_path))
        yield lambda scenario: tried(place, made.dsn, scenario)
        await gateways.in_use().close()
