"""A world in which real services have lived, looked at from outside; made once, only read."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.audit import lived_in
from tests.integration.audit.lived_in import LivedIn


@pytest.fixture(scope="session")
def world() -> Iterator[LivedIn]:
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(lived_in.make(Path(folder)))
    yield made
    asyncio.run(made.remove())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker takes them all: the world they share is made once."""
    for item in items:
        if "looking" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("looked at world"))
