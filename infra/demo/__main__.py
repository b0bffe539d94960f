"""`python -m infra.demo`: bring the system up, play the story, and stay up for a person to look around."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from infra.demo.chapters import CHAPTERS
from infra.demo.scene import Scene, StoryFailedError, scene_on
from infra.deployed import Deployed
from infra.installation import Installation, NotRunningError
from infra.people import ApiError
from infra.processes import StartFailedError
from infra.progress import Progress
from infra.stack import HERE, AlreadyRunningError, Stack, ended_by_sigterm
from infra.verdict import audited

# A story should not wait for the patience that suits real payers.
SHORTENED = {
    "KB_POLL_AFTER_OPEN_S": "[2, 4, 8, 16, 32, 64]",
    "KB_GATEWAY_CALLS_PER_S": "100",
    "KB_CUSTOMER_PER_MINUTE": "10000",
}
UNTRUE = (StoryFailedError, ApiError, NotRunningError, httpx2.TransportError, TimeoutError)


async def play(folder: Path, console: Console, *, stay: bool) -> int:
    """0 when every chapter came true and every promise was kept, 1 otherwise."""
    progress = Progress(console)
    async with AsyncExitStack() as after:
        after.callback(progress.close)
        await after.enter_async_context(ended_by_sigterm())
        stack = await after.enter_async_context(Stack(folder, env=SHORTENED, report=progress.told))
        progress.close()
        told = await _told(stack, console)
        if told and stay:
            console.print("Running until Ctrl-C.")
            await asyncio.Event().wait()
        return 0 if told else 1


async def visit(console: Console) -> int:
    """The same on a system that runs already, and goes on running."""
    async with ended_by_sigterm():
        return 0 if await _told(Deployed.of_environment(), console) else 1


async def _told(system: Installation, console: Console) -> bool:
    async with scene_on(system, console) as scene:
        told = await _came_true(scene) and await _audited(system, console)
    console.print(_addresses(system))
    return told


async def _came_true(scene: Scene) -> bool:
    for number, chapter in enumerate(CHAPTERS, 1):
        scene.console.print(f"\n{number}. {chapter.__doc__}", style="bold", highlight=False)
        try:
            await chapter(scene)
        except UNTRUE as error:
            reason = str(error) or type(error).__name__
            scene.console.print(f"  did not come true: {reason}", style="bold red", highlight=False)
            return False
    scene.console.print("\nThe story came true.", style="bold green")
    return True


async def _audited(system: Installation, console: Console) -> bool:
    console.print("\nThe audit of everything this system has ever done", style="bold")
    return await audited(system, console)


def _addresses(system: Installation) -> Table:
    table = Table(title="Where everything answers", title_justify="left")
    for column in ("part", "address"):
        table.add_column(column)
    for name, address in system.addresses.items():
        table.add_row(name, address if name != "postgres" else address.rpartition("@")[2])
    return table


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="data, logs and secrets of its stack")
    parser.add_argument(
        "--deployed", action="store_true", help="start nothing: play on the system that the settings tell of"
    )
    return parser.parse_args()


def _story(asked: argparse.Namespace, console: Console) -> Coroutine[None, None, int]:
    if asked.deployed:
        return visit(console)
    return play(asked.folder, console, stay=console.is_terminal)


def main() -> None:
    asked, console = _asked(), Console(soft_wrap=True)
    try:
        sys.exit(asyncio.run(_story(asked, console)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        # a person who has seen enough, or a story cut short
        sys.exit(0 if console.is_terminal and not asked.deployed else 130)
    except (AlreadyRunningError, StartFailedError, ValidationError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
