"""A process that is asked to stop: who was let in is answered, nobody new comes in, and it ends in time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter
from structlog.testing import capture_logs

from services.chassis import app, http
from services.chassis.app import Process, Runtime, Service
from services.chassis.settings import OwnerSettings, ServiceSettings
from tests.support.tokens import AUDIENCE, NAME, tokens_in
from tests.support.waiting import until

NOWHERE = "postgresql://nobody:x@127.0.0.1:9/nothing"


@dataclass(slots=True)
class Slow:
    """A route that answers when it is told to."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def router(self) -> APIRouter:
        router = APIRouter()

        @router.get("/slow")
        async def slow() -> dict[str, bool]:
            self.asked.set()
            await self.go.wait()
            return {"done": True}

        return router


def settings_of(folder: Path, port: int) -> dict[str, Any]:
    return {"port": port, "issuer": NAME, "audience": AUDIENCE, "jwks_file": tokens_in(folder).jwks}


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[tuple[Process, "asyncio.Task[int]", str]]:
    process = Process(service)
    task = asyncio.create_task(process.run())
    url = f"http://127.0.0.1:{service.settings.port}"

    async def answers() -> bool:
        try:
            async with httpx2.AsyncClient() as client:
                return (await client.get(f"{url}/healthz")).is_success
        except httpx2.TransportError:
            return False

    await until(answers, what="it answers")
    try:
        yield process, task, url
    finally:
        process.stopping.set()
        await task


async def test_who_was_let_in_is_answered_and_nobody_new_comes_in(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    slow = Slow()
    service = Service("slow", ServiceSettings(**settings_of(tmp_path, free_port())), slow.router())
    async with running(service) as (process, task, url), httpx2.AsyncClient(timeout=20) as client:
        asking = asyncio.create_task(client.get(f"{url}/slow"))
        await slow.asked.wait()
        process.stopping.set()

        async def refused() -> bool:
            try:
                async with httpx2.AsyncClient() as stranger:
                    await stranger.get(f"{url}/healthz")
            except httpx2.ConnectError:
                return True
            return False

        await until(refused, what="strangers are refused")
        assert not task.done()
        slow.go.set()
        answer = await asking
        assert (answer.status_code, answer.json()) == (200, {"done": True})
        assert answer.headers["connection"] == "close"
        async with asyncio.timeout(app.STOPPED_WITHIN_S):
            assert await task == 0


async def test_a_connection_that_stays_open_is_answered_once_more_and_sent_away(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LAME_DUCK_S", 5.0)
    service = Service("slow", ServiceSettings(**settings_of(tmp_path, free_port())), Slow().router())
    async with running(service) as (process, _, url), httpx2.AsyncClient() as client:
        assert "connection" not in (await client.get(f"{url}/healthz")).headers
        process.stopping.set()
        answer = await client.get(f"{url}/healthz")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"{url}/healthz")


async def test_what_hangs_is_cut(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DRAIN_S", 1.0)

    let_go = asyncio.Event()

    began = asyncio.Event()

    async def begun() -> bool:
        return began.is_set()

    async def hang(_: Runtime) -> None:
        began.set()
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    settings = OwnerSettings(database_url=NOWHERE, **settings_of(tmp_path, free_port()))
    service = Service("slow", settings, Slow().router(), workers=(hang,))
    async with running(service) as (process, task, _):
        process.health.schema_known.set()  # only then workers begin
        await until(begun, what="the worker has begun")
        process.stopping.set()
        async with asyncio.timeout(app.STOPPED_WITHIN_S):
            assert await task == 0
    let_go.set()


def test_the_parts_of_a_stop_fit_into_its_bound() -> None:
    assert app.DRAIN_S + app.CUT_S + app.CLOSE_S <= app.STOPPED_WITHIN_S
    assert app.LAME_DUCK_S + http.ANSWER_WITHIN_S < app.DRAIN_S


async def test_without_its_database_a_service_lives_says_what_it_waits_for_and_stops(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    settings = OwnerSettings(database_url=NOWHERE, **settings_of(tmp_path, free_port()))
    with capture_logs() as said:
        async with running(Service("slow", settings, Slow().router())) as (process, task, url):
            async with httpx2.AsyncClient() as client:
                answer = await client.get(f"{url}/readyz")
            assert answer.status_code == 503
            assert answer.json()["waiting_for"] == ["the database", "the tables of this release"]

            async def spoken() -> bool:
                return any("the database" in one.get("waiting_for", ()) for one in said)

            await until(spoken, what="the log says what is waited for")
            process.stopping.set()
            async with asyncio.timeout(app.STOPPED_WITHIN_S):
                assert await task == 0
