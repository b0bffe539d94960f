"""Asking the gateway as a stranger would: any bytes go out, and each refusal is held to our promises."""

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
from rich.console import Console

from infra.databases import database_dsn
from infra.demo.scene import Scene
from infra.people import ADDRESS, Customer
from infra.verdict import audited

NEW_CHECKOUT: dict[str, Any] = {"payment_method": "esewa", "shipping_address": dict(ADDRESS)}
TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
INSIDES = ("Traceback", 'File "', ".py", "asyncpg", "pydantic", "site-packages")


async def ask(
    scene: Scene,
    method: str,
    path: str,
    token: str | None = None,
    body: object = None,
    headers: Mapping[str, str | bytes] | None = None,
) -> httpx2.Response:
    """One request; bytes are sent as they are, anything else as JSON."""
    sent: dict[bytes, bytes] = {b"content-type": b"application/json"} if body is not None else {}
    sent |= {b"authorization": b"Bearer " + token.encode()} if token is not None else {}
    sent |= {name.encode(): as_bytes(value) for name, value in (headers or {}).items()}
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    return await scene.api.client.request(method, path, content=content, headers=sent)


def as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document, which says nothing about our insides."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem.get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert TRACE_ID.fullmatch(problem["trace_id"])
    assert not [word for word in INSIDES if word in answer.text]
    return problem


def pointers(problem: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong where: pointer -> code."""
    return {one["pointer"]: one["code"] for one in problem["errors"]}


def checkout_key() -> dict[str, str]:
    return {"idempotency-key": str(uuid4())}


async def cart_of(buyer: Customer) -> dict[str, int]:
    """SKU -> quantity."""
    cart = await buyer.call("GET", "/v1/cart")
    return {line["sku"]: line["quantity"] for line in cart["lines"]}


async def rows(scene: Scene, service: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """What a service has written, read by the superuser."""
    dsn = database_dsn(scene.stack.addresses["postgres"], f"kb_{service}")
    connection = await asyncpg.connect(dsn)
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement, *values)
    finally:
        await connection.close()
    return found


async def every_promise_kept(scene: Scene) -> bool:
    """The audit finds nothing; what it finds is printed."""
    told = Console(soft_wrap=True)
    return await audited(scene.stack, told)
