"""`python -m infra.replay FOLDER`: replay a history on a system of its own; run again, it goes on."""

import argparse
import asyncio
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infra.issuer import Issuer
from infra.parts import AUDIENCE, ISSUER, ROOT
from infra.people import Admin, Api, ApiError
from infra.processes import StartFailedError
from infra.replay import history, report
from infra.replay.catalogue import put_on_sale
from infra.replay.journal import Journal
from infra.replay.play import Player, ReplayError
from infra.stack import AlreadyRunningError, Stack, ended_by_sigterm
from tests.fakes.esewa import Simulator

HERE = ROOT / ".run" / "replay"
# One client stands for a thousand people, and the simulator is not a gateway to be spared.
RAISED = {
    "KB_CUSTOMER_PER_MINUTE": "1000000",
    "KB_VENDOR_PER_MINUTE": "1000000",
    "KB_STAFF_PER_MINUTE": "1000000",
    "KB_GATEWAY_CALLS_PER_S": "10000",
    "KB_POLL_AFTER_OPEN_S": "[5, 10, 20, 40, 80, 160, 320]",
}


async def replay(folder: Path, past: history.History, console: Console, at_once: int) -> int:
    """0 when every order and item ended as the history implies."""
    async with AsyncExitStack() as after:
        await after.enter_async_context(ended_by_sigterm())
        stack = await after.enter_async_context(Stack(folder, env=RAISED))
        player = await _player(stack, after)
        begun, before = monotonic(), sum(one.done for one in player.journal.placed.values())
        await _play_all(player, past, console, at_once)
        seconds = monotonic() - begun
        outcome = await report.read_back(player, past)
        report.show(console, past, outcome, seconds, len(past.orders) - before)
        return 1 if outcome.wrong else 0


async def _player(stack: Stack, after: AsyncExitStack) -> Player:
    addresses = stack.addresses
    api = Api.at(addresses["gateway"])
    after.push_async_callback(api.close)
    esewa = await after.enter_async_context(Simulator(addresses["esewa"], addresses["esewa-control"]))
    journal = after.enter_context(Journal(stack.folder / "replay.jsonl"))
    issuer = Issuer.read(stack.keys.issuer_pem, ISSUER, AUDIENCE)
    return Player(api, issuer.make_token, esewa, journal)


async def _play_all(player: Player, past: history.History, console: Console, at_once: int) -> None:
    if not player.journal.catalogue:
        await put_on_sale(Admin(player.api, player.make_token), past)
        player.journal.note_catalogue()
    gate = asyncio.Semaphore(at_once)
    with _bar(console) as bar:
        task = bar.add_task("orders", total=len(past.orders))

        async def play(order: history.PastOrder) -> None:
            async with gate:
                await player.play(order)
            bar.advance(task)

        async with asyncio.TaskGroup() as group:
            for order in past.orders.values():
                group.create_task(play(order))


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.replay", description=__doc__)
    parser.add_argument("data", type=Path, help="the folder with the history's files")
    parser.add_argument("--folder", type=Path, default=HERE, help="data, logs and secrets of its stack")
    parser.add_argument("--at-once", type=int, default=16, help="orders played at the same time")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier replay has done")
    return parser.parse_args()


def main() -> None:
    asked, console = _asked(), Console(soft_wrap=True)
    try:
        past = history.read(asked.data)
        if asked.fresh:
            shutil.rmtree(asked.folder, ignore_errors=True)
        sys.exit(asyncio.run(replay(asked.folder, past, console, asked.at_once)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; run it again and it goes on")
    except (history.UnreadableHistoryError, AlreadyRunningError, StartFailedError, ApiError) as error:
        sys.exit(str(error))
    except ExceptionGroup as failed:
        told, unexpected = failed.split((ReplayError, ApiError, httpx2.TransportError))
        if unexpected is not None or told is None:
            raise
        sys.exit("\n".join(sorted({str(error) for error in told.exceptions})))


if __name__ == "__main__":
    main()
