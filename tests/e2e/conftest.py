"""The whole system, twice a run: each part a process of its own; one is traced, the other audited."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from rich.console import Console

from infra.demo.scene import Scene, scene_on
from infra.stack import Stack
from tests.support.collector import Collector, collecting

SETTINGS = {
    "KB_POLL_AFTER_OPEN_S": "[1, 2, 4, 8, 16, 32]",
    "KB_GATEWAY_CALLS_PER_S": "1000",
    "KB_CUSTOMER_PER_MINUTE": "100000",
    "KB_VENDOR_PER_MINUTE": "100000",
    "KB_STAFF_PER_MINUTE": "100000",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as one:
        yield one


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scene(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """The running system and everybody in it."""
    env = SETTINGS | {"KB_OTLP_ENDPOINT": collector.endpoint}
    async with playing(tmp_path_factory.mktemp("stack"), env) as one:
        yield one


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def clean(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A system of its own whose topics hear nobody but its services: its audit must find nothing."""
    async with playing(tmp_path_factory.mktemp("clean"), SETTINGS) as one:
        yield one


@asynccontextmanager
async def playing(folder: Path, env: Mapping[str, str]) -> AsyncIterator[Scene]:
    async with Stack(folder, env=env) as stack, scene_on(stack, Console(quiet=True)) as scene:
        yield scene


WHOLE_SYSTEM = "whole system"


@pytest.hookimpl(tryfirst=True)  # before the workers look for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker takes them all: more systems would only fight for the same two cores."""
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group(WHOLE_SYSTEM))
