"""The stories of the demo, on the whole system."""

import pytest

from infra.demo.chapters import CHAPTERS, Chapter
from infra.demo.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.__name__)
async def test_the_chapter_comes_true(scene: Scene, chapter: Chapter) -> None:
    assert await came_true(chapter, scene)


async def came_true(chapter: Chapter, scene: Scene) -> bool:
    """A chapter raises StoryFailedError where it does not."""
    await chapter(scene)
    return True
