"""A simulator, a bare HTTP caller and a merchant who writes down every return, fresh for each test."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.fakes.esewa import Simulator, running_simulator

MERCHANT_ANSWER = (
    b"HTTP/1.1 303 See Other\r\nlocation: /thanks\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


@dataclass(slots=True)
class Merchant:
    """Answers every return with 303 and remembers the targets in the order they arrived."""

    url: str = ""
    visits: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.visits.append(request.split(" ", 2)[1])
        writer.write(MERCHANT_ANSWER)
        writer.close()


@dataclass(frozen=True, slots=True)
class Shop:
    """What a merchant's own server would ask of the gateway."""

    simulator: Simulator
    http: httpx2.AsyncClient

    async def form(self, fields: dict[str, str]) -> httpx2.Response:
        return await self.http.post(self.simulator.form_url, data=fields)

    async def status(self, reference: str, total_amount: str = "110") -> httpx2.Response:
        asked = {"product_code": "EPAYTEST", "total_amount": total_amount, "transaction_uuid": reference}
        return await self.http.get(self.simulator.status_url, params=asked)

    async def seen(self, reference: str, total_amount: str = "110") -> dict[str, Any]:
        answer = await self.status(reference, total_amount)
        assert answer.status_code == httpx2.codes.OK
        seen: dict[str, Any] = answer.json()
        return seen

    async def words(self, reference: str, polls: int) -> list[str]:
        return [(await self.seen(reference))["status"] for _ in range(polls)]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with running_simulator() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as caller:
        yield caller


@pytest.fixture
def shop(simulator: Simulator, http: httpx2.AsyncClient) -> Shop:
    return Shop(simulator, http)


@pytest.fixture
async def merchant() -> AsyncIterator[Merchant]:
    merchant = Merchant()
    server = await asyncio.start_server(merchant.answer, "127.0.0.1", 0)
    async with server:
        merchant.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield merchant
