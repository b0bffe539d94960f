"""What the tests of the chassis share: a service that hears one topic and writes down what took effect."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from contracts.payments import PaymentReturned
from services.chassis import parked_api
from services.chassis.consumer import Subscription
from services.chassis.db import Database
from services.chassis.http import make_app
from services.chassis.parked_actions import Desk
from services.chassis.settings import OwnerSettings
from tests.support.effects import EFFECTS, NUMBER, Effects
from tests.support.office import Office
from tests.support.tokens import AUDIENCE, NAME, tokens_in


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


@pytest.fixture
async def office(effects: Effects, tmp_path: Path) -> AsyncIterator[Office]:
    tokens = tokens_in(tmp_path)
    settings = OwnerSettings(
        database_url=effects.db.dsn, issuer=NAME, audience=AUDIENCE, jwks_file=tokens.jwks
    )
    hears = {NUMBER: Subscription(PaymentReturned, effects.handle)}
    desk = Desk(effects.db, "notifications", hears, edits=True)
    app = make_app(
        "notifications",
        routers=[parked_api.router],
        state={"db": effects.db, "settings": settings, "desk": desk},
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://notifications", timeout=10
    ) as client:
        yield Office(effects, client, tokens.issuer.make_token, uuid4(), app)
