"""Payments' HTTP front as callers meet it: the real application on a real port, with real tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2

from services.chassis.app import Runtime
from services.chassis.http import make_app
from services.payments import api
from tests.integration.payments.desk import ADMIN, Desk
from tests.support.tokens import AUDIENCE, NAME, Tokens, tokens_in
from tests.support.web import serving


@dataclass(frozen=True, slots=True)
class Front:
    """Asks as somebody; every request gets an Idempotency-Key of its own unless one is given."""

    client: httpx2.AsyncClient
    tokens: Tokens

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: UUID | None = None,
        role: str = "customer",
        key: str | None = None,
        **more: Any,  # noqa: ANN401
    ) -> httpx2.Response:
        headers = {"Idempotency-Key": key or uuid4().hex}
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens.issuer.make_token(subject=who, roles=[role])}"
        return await self.client.request(method, path, json=body, headers=headers, **more)

    async def admin(self, method: str, path: str, body: object = None, **more: Any) -> httpx2.Response:  # noqa: ANN401
        return await self.ask(method, path, body, who=ADMIN, role="admin", **more)


@asynccontextmanager
async def open_front(desk: Desk, runtime: Runtime, folder: Path) -> AsyncIterator[Front]:
    tokens = tokens_in(folder)
    changes = {"issuer": NAME, "audience": AUDIENCE, "jwks_file": tokens.jwks}
    settings = desk.gateways.settings.model_copy(update=changes)
    state = {"db": desk.db, "settings": settings, "runtime": runtime}
    app = make_app("payments", routers=[api.router], state=state)
    async with serving(app) as base_url, httpx2.AsyncClient(base_url=base_url, timeout=10) as client:
        yield Front(client, tokens)
