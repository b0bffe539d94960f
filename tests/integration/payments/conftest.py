"""What the payments tests stand on: a migrated database and the gateways of a test merchant."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from services.chassis.db import Database
from services.payments.gateways import Gateways
from services.payments.settings import PaymentsSettings
from tests.integration.payments.desk import Desk


@pytest.fixture
async def desk(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Desk]:
    """Payments without its process: its database, its gateways, its actions."""
    made = await database("payments")
    settings = PaymentsSettings(database_url=made.dsn)
    db = Database(made.dsn, name="test", size=8)
    admin = await asyncpg.connect(made.admin_dsn)
    gateways = Gateways(settings)
    yield Desk(db, admin, gateways)
    await gateways.close()
    await admin.close()
    await db.close()
