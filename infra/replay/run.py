"""The replay from beginning to end: catalogue, every order, the comparison, the audit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infra.issuer import Issuer
from infra.parts import AUDIENCE, ISSUER
from infra.people import Admin, Api
from infra.replay import report
from infra.replay.catalogue import put_on_sale
from infra.replay.history import History, PastOrder
from infra.replay.journal import Journal
from infra.replay.play import Player
from infra.stack import Stack, ended_by_sigterm
from infra.verdict import audited
from tests.fakes.esewa import Simulator

# One client stands for a thousand people, and the simulator is not a gateway to be spared.
RAISED = {
    "KB_CUSTOMER_PER_MINUTE": "1000000",
    "KB_VENDOR_PER_MINUTE": "1000000",
    "KB_STAFF_PER_MINUTE": "1000000",
    "KB_GATEWAY_CALLS_PER_S": "10000",
    "KB_POLL_AFTER_OPEN_S": "[5, 10, 20, 40, 80, 160, 320]",
}


async def replay(folder: Path, past: History, console: Console, at_once: int) -> int:
    """0 when every order and item ended as the history implies and every promise was kept."""
    async with AsyncExitStack() as after:
        await after.enter_async_context(ended_by_sigterm())
        stack = await after.enter_async_context(Stack(folder, env=RAISED))
        player = await after.enter_async_context(_player(stack))
        begun, before = monotonic(), sum(one.done for one in player.journal.placed.values())
        await play_all(player, past, console, at_once)
        seconds = monotonic() - begun
        outcome = await report.read_back(player, past)
        report.show(console, past, outcome, seconds, len(past.orders) - before)
        kept = await audited(stack, console)
        return 0 if kept and not outcome.wrong else 1


@asynccontextmanager
async def _player(stack: Stack) -> AsyncIterator[Player]:
    addresses = stack.addresses
    api = Api.at(addresses["gateway"])
    issuer = Issuer.read(stack.keys.issuer_pem, ISSUER, AUDIENCE)
    async with Simulator(addresses["esewa"], addresses["esewa-control"]) as esewa:
        try:
            with Journal(stack.folder / "replay.jsonl") as journal:
                yield Player(api, issuer.make_token, esewa, journal)
        finally:
            await api.close()


async def play_all(player: Player, past: History, console: Console, at_once: int) -> None:
    """Everything that the journal does not know as done; may be cancelled and begun again at any time."""
    if not player.journal.catalogue:
        await put_on_sale(Admin(player.api, player.make_token), past)
        player.journal.note_catalogue()
    gate = asyncio.Semaphore(at_once)
    with _bar(console) as bar:
        task = bar.add_task("orders", total=len(past.orders))

        async def play(order: PastOrder) -> None:
            async with gate:
                await player.play(order)
            bar.advance(task)

        async with asyncio.TaskGroup() as group:
            for order in past.orders.values():
                group.create_task(play(order))


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
