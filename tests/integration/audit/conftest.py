"""The audit's world, made once and only read; what a test breaks is a copy."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from infra.audit import Report, audit
from tests.integration.audit import lived_in
from tests.integration.audit.lived_in import LivedIn
from tests.support.web import serving


@pytest.fixture(scope="session")
def world() -> Iterator[LivedIn]:
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(lived_in.make(Path(folder)))
    yield made
    asyncio.run(made.remove())


Audit = Callable[..., Awaitable[Report]]


@pytest.fixture
def audited(world: LivedIn, truth_url: str) -> Audit:
    """The audit of this world, but for what a test says otherwise."""

    async def run(**otherwise: Any) -> Report:  # noqa: ANN401 - any argument of the audit
        known: dict[str, Any] = {
            "databases": world.databases,
            "kafka": world.kafka,
            "topic_prefix": world.prefix,
            "truth_url": truth_url,
            "wait_quiet_s": 0,
        }
        return await audit(**known | otherwise)

    return run


@pytest.fixture
async def truth_url(world: LivedIn) -> AsyncIterator[str]:
    """A control face that tells what the simulator knew when everything stopped."""
    app = FastAPI()

    @app.get("/_sim/truth")
    async def truth() -> PlainTextResponse:
        return PlainTextResponse(b"\n".join(map(orjson.dumps, world.truth)).decode())

    async with serving(app) as url:
        yield url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker takes them all: the world they share is made once."""
    for item in items:
        if "audit" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("audited world"))
