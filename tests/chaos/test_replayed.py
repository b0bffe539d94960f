"""A replay can be held, so that one may see how long the system itself needs to be quiet."""

import asyncio
from pathlib import Path

from infra.people import Api
from infra.replay.history import History, PastOrder
from infra.replay.journal import Journal, Placed
from tests.chaos.replayed import Held, Replay
from tests.fakes.esewa import Simulator

TURNS = 100
"""Of the event loop: far more than a replay needs that has nothing left to do."""


def token(**_: object) -> str:
    return "a token"


async def test_a_replay_that_is_held_begins_no_order_until_it_may_go_on(tmp_path: Path) -> None:
    past = History({"o1": PastOrder("o1", "somebody", "delivered", "delivered", 1)})
    api, esewa = Api.at("http://gate"), Simulator("http://esewa", "http://control")
    with Journal(tmp_path / "replay.jsonl") as journal:
        journal.note_catalogue()
        journal.note("o1", Placed("c1", done=True))  # so that nobody has to be asked about it
        replay = Replay(Held(api, token, esewa, journal), past)
        with replay.held():
            playing = asyncio.create_task(replay.play())
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert not playing.done()
        await playing
    assert replay.stopped == []
    await api.close()
    await esewa.aclose()
