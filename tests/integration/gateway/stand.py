"""A small HTTP server where services would stand: it notes what it is asked and answers as it is told."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Say = Callable[[Request], Any | Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Stand:
    """`says[(method, path)]` is a body, a Response, an exception to raise, or a function of the request."""

    says: dict[tuple[str, str], Any] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        request = Request(scope, receive)
        query, headers = request.query_params.multi_items(), dict(request.headers)
        path = scope["raw_path"].decode()
        self.heard.append(Heard(request.method, path, query, headers, await request.body()))
        said = self.says.get((request.method, path), a_problem(404, "NOT_FOUND"))
        said = said(request) if callable(said) and not isinstance(said, Response) else said
        said = await said if isawaitable(said) else said
        if isinstance(said, Exception):
            raise said
        answer = said if isinstance(said, Response) else a_json(said)
        await answer(scope, receive, send)

    def asked(self, method: str, path: str) -> list[Heard]:
        """Every time it was asked this."""
        return [one for one in self.heard if (one.method, one.path) == (method, path)]


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def a_json(body: object, status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(orjson.dumps(body), status, named, "application/json")


def a_problem(status: int, code: str, **more: object) -> Response:
    body = {"type": "about:blank", "title": "t", "status": status, "detail": "d", "code": code, **more}
    return Response(orjson.dumps(body), status, media_type="application/problem+json")


def a_checkout(order_id: UUID, stage: str, version: int = 1, **more: object) -> dict[str, object]:
    now = datetime.now(UTC).isoformat()
    known: dict[str, object] = {
        "id": str(order_id),
        "stage": stage,
        "method": "esewa",
        "amount_paisa": None if stage == "reserving" else 150_000,
        "lines": [{"sku": "kurta-m", "quantity": 1}],
        "version": version,
        "created_at": now,
        "updated_at": now,
    }
    return known | more


def an_intent(order_id: UUID, attempt: str | None = "open") -> dict[str, object]:
    redirect = {"method": "POST", "url": "https://pay.test/form", "fields": {"signature": "s"}}
    shown = redirect if attempt == "open" else None
    return {
        "id": str(order_id),
        "subject_id": str(order_id),
        "customer_id": str(order_id),
        "state": "open",
        "amount_paisa": 150_000,
        "pay_by": datetime.now(UTC).isoformat(),
        "attempt": attempt
        and {"id": str(order_id), "provider": "esewa", "state": attempt, "redirect": shown},
    }
