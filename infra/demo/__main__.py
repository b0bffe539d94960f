"""`python -m infra.demo`: bring the system up, play the story, and stay up for a person to look around."""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.demo.chapters import CHAPTERS
from infra.demo.scene import Scene, StoryFailedError
from infra.issuer import Issuer
from infra.parts import AUDIENCE, ISSUER
from infra.people import Api, ApiError
from infra.processes import StartFailedError
from infra.progress import Progress
from infra.stack import HERE, AlreadyRunningError, Stack, ended_by_sigterm
from infra.verdict import audited
from tests.fakes.esewa import Simulator

# A story should not wait for the patience that suits real payers.
SHORTENED = {
    "KB_POLL_AFTER_OPEN_S": "[2, 4, 8, 16, 32, 64]",
    "KB_GATEWAY_CALLS_PER_S": "100",
    "KB_CUSTOMER_PER_MINUTE": "10000",
}


async def play(folder: Path, console: Console, *, stay: bool) -> int:
    """0 when every chapter came true and every promise was kept, 1 otherwise."""
    progress = Progress(console)
    async with AsyncExitStack() as after:
        after.callback(progress.close)
        await after.enter_async_context(ended_by_sigterm())
        stack = await after.enter_async_context(Stack(folder, env=SHORTENED, report=progress.told))
        progress.close()
        scene = await _scene(stack, console, after)
        told = await _tell(scene) and await _audited(stack, console)
        console.print(_addresses(stack))
        if told and stay:
            console.print("Running until Ctrl-C.")
            await asyncio.Event().wait()
        return 0 if told else 1


async def _scene(stack: Stack, console: Console, after: AsyncExitStack) -> Scene:
    addresses = stack.addresses
    api = Api.at(addresses["gateway"])
    after.push_async_callback(api.close)
    esewa = await after.enter_async_context(Simulator(addresses["esewa"], addresses["esewa-control"]))
    issuer = Issuer.read(stack.keys.issuer_pem, ISSUER, AUDIENCE)
    return Scene(stack, api, issuer, esewa, console)


async def _tell(scene: Scene) -> bool:
    for number, chapter in enumerate(CHAPTERS, 1):
        scene.console.print(f"\n{number}. {chapter.__doc__}", style="bold", highlight=False)
        try:
            await chapter(scene)
        except (StoryFailedError, ApiError) as error:
            scene.console.print(f"  did not come true: {error}", style="bold red", highlight=False)
            return False
    scene.console.print("\nThe story came true.", style="bold green")
    return True


async def _audited(stack: Stack, console: Console) -> bool:
    console.print("\nThe audit of everything this stack has ever done", style="bold")
    return await audited(stack, console)


def _addresses(stack: Stack) -> Table:
    table = Table(title="Where everything answers", title_justify="left")
    for column in ("part", "address"):
        table.add_column(column)
    for name, address in stack.addresses.items():
        table.add_row(name, address if name != "postgres" else address.rpartition("@")[2])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="data, logs and secrets of its stack")
    console = Console(soft_wrap=True)
    try:
        sys.exit(asyncio.run(play(parser.parse_args().folder, console, stay=console.is_terminal)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0 if console.is_terminal else 130)  # a person who has seen enough, or a story cut short
    except (AlreadyRunningError, StartFailedError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
