"""Every command of every runbook, typed on the running system: it does what it says, or says why not."""

import asyncio
import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from contracts.topics import BY_NAME
from infra import event_map
from infra.cli import app
from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, eventually
from infra.stack import Stack
from services.chassis.ids import new_id
from tests.e2e.asking import rows
from tests.support.records import send, sent
from tests.support.rulebook import PLACEHOLDER, RUNBOOKS, commands_in, path_of
from tests.support.source import ROOT, text_of
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = tuple(path.relative_to(ROOT) for path in sorted((ROOT / RUNBOOKS).glob("*.md")))
COMMANDS = sorted(
    {command for path in PAGES for command in commands_in(text_of(path)) if command.startswith("kb ")}
)
TOPIC: Final = "payment.verified"
PARKED: Final = "select id from inbox_parked where key = $1"
REFERENCE: Final = "select reference from attempts where subject_id = $1"
FINDS: Final = frozenset({("audit",), ("doctor",), ("report", "orphans"), ("report", "empty-orders")})
"""They end with 1 when something is wrong; on this system others plant what is."""
PAUSES: Final = {
    "kb rollup pause --reason <why>": "kb rollup resume --reason <why>",
    "kb heal <duty> --pause-for 2h --reason <why>": "kb heal <duty> --resume --reason <why>",
}
"""What rests, and what wakes it: neither is typed without the other, so each can be tried alone and last."""
REFUSED: Final = frozenset({("outbox", "reset")})
"""Asks a person first; nobody answers here."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def order(scene: Scene) -> str:
    """One that was paid for."""
    _, sku = await scene.goods("runbook", price_paisa=70_000, stock=1)
    buyer = scene.customer()
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    await scene.pay(checkout)
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")
    return str(checkout["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def words(scene: Scene, order: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What a person would put in for each placeholder: an order, and a record that is dead in orders."""
    key = str(new_id())
    await tell_nonsense(scene.stack.addresses["kafka"], key)
    parked = await until(partial(rows, scene, "orders", PARKED, key), within_s=30, what="it is set aside")
    body = tmp_path_factory.mktemp("mended") / "body.json"
    body.write_text(
        json.dumps(event_map.example(BY_NAME[TOPIC], whole=True) | {BY_NAME[TOPIC].event.KEYED_BY: key})
    )
    [attempt] = await rows(scene, "payments", REFERENCE, order)
    return {
        "order id": order,
        "checkout id": order,
        "id": order,
        "key": order,
        "reference": attempt["reference"],
        "record": f"orders.in.{parked[0]['id']}",
        "file": str(body),
        "topic": TOPIC,
        "failure": "INVALID_BODY",
        "name": "orders",
        "service": "inventory",
        "process": "payments-0",
        "duty": "expire_unpaid",
        "why": "a runbook says so",
    }


async def tell_nonsense(kafka: str, key: str) -> None:
    """A record under the name of payments that cannot be read."""
    event = BY_NAME[TOPIC].event.model_validate_json(
        json.dumps(event_map.example(BY_NAME[TOPIC], whole=True))
    )
    await send(kafka, "", [replace(sent(event), key=key.encode(), value=b"{nonsense")])


def typed(command: str, words: Mapping[str, str], folder: Path) -> list[str]:
    """The command with everything put in, about this system."""
    _, *given = [PLACEHOLDER.sub(lambda one: words[one[0][1:-1]], one) for one in split(command)]
    here = ["--instance", str(folder)]
    if given[0] == "parked":
        return [given[0], *here, *given[1:]]
    patience = ["--wait", "1"] if given[0] == "audit" else []
    return [*given, *patience, *here]


def split(command: str) -> list[str]:
    """Words; a placeholder is one, whatever is in it."""
    return shlex.split(PLACEHOLDER.sub(lambda one: f"'{one[0]}'", command))


async def kb(arguments: list[str]) -> Result:
    """In a thread, because it asks as a program of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_of_the_runbooks_runs(
    scene: Scene, words: Mapping[str, str], command: str
) -> None:
    assert isinstance(scene.stack, Stack)
    for one in around(command):
        done = await kb(typed(one, words, scene.stack.folder))
        path = path_of(one)
        allowed = {1} if path in REFUSED else {0, 1} if path in FINDS else {0}
        assert done.exit_code in allowed, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        assert "Traceback" not in done.output


def around(command: str) -> tuple[str, ...]:
    """The command, with what has to be typed before it or after it."""
    for pause, wake in PAUSES.items():
        if command in {pause, wake}:
            return pause, wake
    return (command,)


async def test_each_pause_tried_here_is_one_that_a_runbook_advises() -> None:
    assert {*PAUSES} | {*PAUSES.values()} <= {*COMMANDS}
