"""The last look at a market sees all that was placed there, whoever was told of it."""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import httpx2

from tests.chaos.caller import Caller, Doors
from tests.chaos.clients import Deal, Market
from tests.chaos.history import Recorder, read
from tests.chaos.market import Crowd
from tests.fakes.esewa import Simulator

STAGES = {"told": "confirmed", "second-tab": "expired", "never-answered": "confirmed"}


def answer(request: httpx2.Request) -> httpx2.Response:
    name = request.url.path.rpartition("/")[2]
    if "/orders/" in request.url.path:
        return httpx2.Response(200, json={"id": name, "items": [{"id": "i1"}]})
    return httpx2.Response(200, json={"id": name, "stage": STAGES[name]})


def token(**_: object) -> str:
    return "a token"


async def test_the_last_look_finds_second_tabs_and_what_nobody_was_told_of(tmp_path: Path) -> None:
    gate = httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://gate")
    esewa = Simulator("http://esewa", "http://control")
    with Recorder(tmp_path / "history.jsonl", run="r", seed=1) as recorder:
        doors = Doors([gate], token, recorder)
        crowd = Crowd(Market(doors, esewa, [], [], monotonic(), 1.0), seed=1, per_s=1.0)
        two_tabs, unanswered = (deal_of(crowd, name) for name in ("two tabs", "unanswered"))
        two_tabs.checkout_id = "told"
        placed: Mapping[str, Any] = {
            str(two_tabs.buyer.id): frozenset({"told", "second-tab"}),
            str(unanswered.buyer.id): frozenset({"never-answered"}),
            "of the replay": frozenset({"not ours"}),
        }
        await crowd.last_look(placed)
    await doors.close()
    await esewa.aclose()
    asked = sorted((op.asked.f, op.asked.args["path"].rpartition("/")[2]) for op in read(recorder.path))
    looks = [("final look", name) for name in ("never-answered", "second-tab", "told")]
    assert asked == [*looks, ("final order", "never-answered"), ("final order", "told")]


def deal_of(crowd: Crowd, name: str) -> Deal:
    chance = Random(1)
    deal = Deal(crowd.market, Caller(crowd.market.doors, name, "customer", chance), chance)
    crowd.deals.append(deal)
    return deal
