"""What the payments tests stand on: a migrated database, the gateway's stand-in, a running poller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from services.chassis.app import Runtime
from services.chassis.db import Database
from services.payments import gateways
from services.payments.poller import poll_attempts
from services.payments.settings import PaymentsSettings
from tests.fakes.esewa import Simulator, running_simulator
from tests.integration.payments.desk import Desk

Polling = Callable[..., AbstractAsyncContextManager[Runtime]]

# Waits of a test's length; nothing is asked about by itself unless a test says so.
QUICK: dict[str, Any] = {
    "gateway_calls_per_s": 1000,
    "poll_every_s": 0.02,
    "poll_after_return_s": (0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
    "poll_unknown_first_s": 0.05,
    "poll_unknown_most_s": 0.2,
}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """The gateway's stand-in, with a world of its own."""
    async with running_simulator() as running:
        yield running


@pytest.fixture
async def desk(database: Callable[[str], Awaitable[Any]], simulator: Simulator) -> AsyncIterator[Desk]:
    """Payments without its process: its database, its gateways, its actions."""
    made = await database("payments")
    settings = PaymentsSettings(
        database_url=made.dsn,
        esewa_form_url=simulator.form_url,
        esewa_status_url=simulator.status_url,
        **QUICK,
    )
    db = Database(made.dsn, name="test", size=8)
    admin = await asyncpg.connect(made.admin_dsn)
    in_use = gateways.use(settings)
    yield Desk(db, admin, in_use, simulator)
    await in_use.close()
    await admin.close()
    await db.close()


@pytest.fixture
def polling(desk: Desk) -> Polling:
    """A poller for a while: stopped at the end, or killed if not `gently`."""

    @asynccontextmanager
    async def run(*, gently: bool = True, **changes: object) -> AsyncIterator[Runtime]:
        if changes:
            desk.use(**changes)
        runtime = Runtime(desk.db, desk.gateways.settings, asyncio.Event(), asyncio.Event())
        task = asyncio.create_task(poll_attempts(runtime))
        try:
            yield runtime
        finally:
            runtime.stopping.set()
            if not gently:
                task.cancel()
            await asyncio.wait([task], timeout=15)
            assert task.done()

    return run
