"""Where scenarios are made: one service's database, its wiring, and tokens to ask it with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.app import Service
from services.chassis.db import Database
from tests.support.crash.ground import Ground
from tests.support.crash.trying import Scenario, Tried, try_everywhere
from tests.support.crash.work import Asking, Healing
from tests.support.tokens import AUDIENCE, NAME, Tokens, tokens_in


@dataclass(frozen=True, slots=True)
class Place:
    """One service as a scenario finds it; `world` is what its own tests put things into it with."""

    service: Service
    world: Any
    admin: asyncpg.Connection
    tokens: Tokens

    def heal(self, name: str) -> Healing:
        """The duty of this name, as the service runs it."""
        [duty] = [one for one in self.service.reconcilers if one.name == name]
        return Healing(duty)

    def ask(self, request: str, body: object = None, **said: Any) -> Asking:  # noqa: ANN401
        """A request like "POST /v1/checkouts"; `who` and `role` make its token."""
        method, _, path = request.partition(" ")
        who, role = said.pop("who", UUID(int=99)), said.pop("role", "customer")
        vendor = said.pop("vendor_id", None)
        token = self.tokens.issuer.make_token(subject=who, roles=[role], vendor_id=vendor)
        return Asking(self.service, method, path, token, body, **said)


def settings_for(dsn: str, folder: Path) -> dict[str, Any]:
    """What every service's settings need."""
    return {
        "database_url": dsn,
        "issuer": NAME,
        "audience": AUDIENCE,
        "jwks_file": tokens_in(folder).jwks,
    }


async def tried(place: Place, dsn: str, scenario: Scenario) -> Tried:
    """The scenario's state is made, then its work is tried at every step."""
    work = await scenario.prepare(place)
    return await try_everywhere(Ground(place.admin), dsn, work, scenario.differing, idle=scenario.idle)


@asynccontextmanager
async def opened(dsn: str, admin_dsn: str) -> AsyncIterator[tuple[Database, asyncpg.Connection]]:
    """What scenarios are made with: the service's own way in, and the superuser's."""
    db, admin = Database(dsn, name="making", size=4), await asyncpg.connect(admin_dsn)
    try:
        yield db, admin
    finally:
        await admin.close()
        await db.close()
