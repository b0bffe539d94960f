"""More requests at once than a process takes: the others are told to come again."""

import asyncio
from pathlib import Path

import httpx2
import pytest
from fastapi import APIRouter

from services.chassis import http
from services.chassis.settings import ServiceSettings
from tests.support.tokens import tokens_in


async def test_a_request_too_many_is_refused_with_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_AT_ONCE", 2)
    router, inside, go = APIRouter(), asyncio.Semaphore(0), asyncio.Event()

    @router.get("/slow")
    async def slow() -> dict[str, bool]:
        inside.release()
        await go.wait()
        return {"done": True}

    settings = ServiceSettings(jwks_file=tokens_in(tmp_path).jwks)
    app = http.make_app("slow", routers=[router], state={"db": None, "settings": settings})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://slow") as client:
        taken = [asyncio.create_task(client.get("/slow")) for _ in range(2)]
        await inside.acquire()
        await inside.acquire()
        refused = await client.get("/slow")
        assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert int(refused.headers["retry-after"]) > 0
        go.set()
        assert [one.status_code for one in await asyncio.gather(*taken)] == [200, 200]
        assert (await client.get("/slow")).status_code == 200, "there is room again"
