"""The story on a system that somebody else started, known by its settings only."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from rich.console import Console

from infra.demo.chapters import Chapter, killed_service, three_vendors
from infra.demo.scene import Scene, scene_on
from infra.deployed import Deployed, DeployedSettings
from infra.installation import NotRunningError
from tests.e2e.asking import every_promise_kept
from tests.e2e.test_story import came_true

pytestmark = pytest.mark.asyncio(loop_scope="session")


def settings_of(scene: Scene, secrets: Path) -> DeployedSettings:
    """What an operator would set for this system."""
    told = scene.stack.addresses
    return DeployedSettings(
        secrets=secrets,
        kafka=told["kafka"],
        postgres=told["postgres"].rpartition("@")[2].partition("/")[0],
        gateway_url=told["gateway"],
        orders_url=told["orders"],
        inventory_url=told["inventory"],
        payments_url=told["payments"],
        esewa_url=told["esewa"],
        esewa_control_url=told["esewa-control"],
        public_url=told["gateway"],
        esewa_form_url=f"{told['esewa']}/form",
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def visited(clean: Scene) -> AsyncIterator[Scene]:
    """The same people on the same system, who were only told of it."""
    system = Deployed(settings_of(clean, clean.stack.keys.folder))
    async with scene_on(system, Console(quiet=True)) as scene:
        yield scene


@pytest.mark.parametrize("chapter", [three_vendors, killed_service], ids=lambda chapter: chapter.__name__)
async def test_the_chapter_comes_true_for_a_visitor(visited: Scene, chapter: Chapter) -> None:
    assert await came_true(chapter, visited)


async def test_a_visitor_can_audit(visited: Scene) -> None:
    assert await every_promise_kept(visited)


async def test_a_visitor_ends_no_process_of_another_copy(clean: Scene, tmp_path: Path) -> None:
    """The same command with another key set belongs to somebody else."""
    (tmp_path / "jwks.json").write_bytes(clean.stack.keys.jwks.read_bytes())
    stranger = Deployed(settings_of(clean, tmp_path))
    with pytest.raises(NotRunningError):
        stranger.kill("orders")
