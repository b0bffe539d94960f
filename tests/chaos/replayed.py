"""A marketplace's own history, played while everything breaks: it must end as if nothing had happened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console

from infra.people import Api
from infra.replay import history
from infra.replay.journal import Journal
from infra.replay.play import Player
from infra.replay.report import read_back
from infra.replay.run import play_all
from tests.chaos.checker import Checked
from tests.chaos.ground import Ground

AT_ONCE: Final = 8
PATIENT: Final[Mapping[str, str]] = {
    "KB_PAY_WITHIN_S": "900",
    "KB_CUT_OFF_S": "60",
    "KB_ESEWA_TTL_S": "900",
}
"""A history tells of nobody who was too late, so nobody may be."""
SAYS: Final = "Every order of the history ended as the history says"


async def replayed(ground: Ground, data: Path, journal: Path) -> Checked:
    """Plays the history in that folder to its end, whatever is broken meanwhile, and reads it back."""
    past, api = history.read(data), Api.at(ground.gates[0])
    try:
        with Journal(journal) as noted:
            player = Player(api, ground.make_token, ground.esewa, noted)
            await play_all(player, past, Console(quiet=True), AT_ONCE)
            outcome = await read_back(player, past)
    except Exception as error:  # noqa: BLE001 - whatever stopped it, the history did not come true
        return Checked("REPLAY", SAYS, len(past.orders), (f"the replay ended with {error!r}",))
    finally:
        await api.close()
    return Checked("REPLAY", SAYS, len(past.orders), tuple(outcome.wrong))
