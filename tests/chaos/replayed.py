"""A marketplace's own history, played while everything breaks: it must end as if nothing had happened."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from rich.console import Console

from infra.people import Admin, Api
from infra.replay import history, report
from infra.replay.catalogue import put_on_sale
from infra.replay.history import History, PastOrder
from infra.replay.journal import Journal
from infra.replay.play import Player
from infra.replay.run import play_all
from tests.chaos.checker import Checked
from tests.chaos.ground import Ground

AT_ONCE: Final = 16
PATIENCE_S: Final = 900.0
"""For one step; a run may leave a service hardly a minute of peace."""
AGAIN: Final = frozenset({"expired", "payment_failed", "cancelled", "refund_pending", "refunded"})
"""Who lost a checkout to an outage comes back, as people do; nobody may lose an order."""
UNITS: Final = 3
"""So many times what was bought is on sale, for what a lost checkout holds is free again only later."""
SAYS: Final = "Every order of the history ended as the history says"


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class Held(Player):
    """Begins no further order while `goes_on` is not set; what is under way goes its way."""

    goes_on: asyncio.Event = field(default_factory=_set)

    async def play(self, past: PastOrder) -> None:
        await self.goes_on.wait()
        await Player.play(self, past)


@dataclass(slots=True)
class Replay:
    """One history on its way; `stopped` says what ended it too early."""

    player: Held
    past: History
    seconds: float = 0.0
    stopped: list[str] = field(default_factory=list)

    async def play(self) -> None:
        """To its end, whatever is broken meanwhile."""
        begun = monotonic()
        try:
            await play_all(self.player, self.past, Console(quiet=True), AT_ONCE)
        except Exception as error:  # noqa: BLE001 - whatever stopped it, the history did not come true
            self.stopped += [f"the replay ended with {one!r}" for one in _each(error)]
        self.seconds = monotonic() - begun

    @contextmanager
    def held(self) -> Iterator[None]:
        """No order is begun inside the block."""
        self.player.goes_on.clear()
        try:
            yield
        finally:
            self.player.goes_on.set()

    async def judged(self, console: Console) -> Checked:
        """What the system has beside what the history says, once all is quiet."""
        if not self.stopped:
            outcome = await report.read_back(self.player, self.past)
            report.show(console, self.past, outcome, self.seconds, len(self.past.orders))
            self.stopped += outcome.wrong
        return Checked("REPLAY", SAYS, len(self.past.orders), tuple(self.stopped))


def _each(error: Exception) -> list[Exception]:
    """What a group of tasks failed with, one by one."""
    if isinstance(error, ExceptionGroup):
        return [each for one in error.exceptions for each in _each(one)]
    return [error]


@asynccontextmanager
async def replay_of(ground: Ground, data: Path | None, journal: Path) -> AsyncIterator[Replay | None]:
    """The history in that folder, on sale and ready to be played; None where no folder is named."""
    if data is None:
        yield None
        return
    past, api = await asyncio.to_thread(history.read, data), Api.at(ground.gates[0])
    try:
        with Journal(journal) as noted:
            await put_on_sale(Admin(api, ground.make_token), past, times=UNITS)
            noted.note_catalogue()
            yield Replay(Held(api, ground.make_token, ground.esewa, noted, AGAIN, PATIENCE_S), past)
    finally:
        await api.close()
