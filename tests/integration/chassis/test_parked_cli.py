"""`kb parked` as an operator types it: against a service that answers, one that does not, and none."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from contracts.payments import PaymentReturned
from infra.cli import app
from services.chassis import parked_api
from services.chassis.consumer import Subscription
from services.chassis.decisions import Never
from services.chassis.http import make_app
from services.chassis.parked_actions import Desk
from services.chassis.retrier import retry_one
from services.chassis.settings import OwnerSettings
from tests.support.effects import NUMBER, Effects
from tests.support.tokens import AUDIENCE, NAME, tokens_in
from tests.support.web import serving

WHY = ["--reason", "tried by a test"]


@dataclass
class Terminal:
    """A terminal beside one service, called payments here."""

    effects: Effects
    url: str
    token: str

    async def kb(self, *words: str, urls: tuple[str, ...] = (), answer: str | None = None) -> Result:
        where = [word for one in (urls or (f"payments={self.url}",)) for word in ("--url", one)]
        arguments = ["parked", *where, *words]
        env = {"KB_TOKEN": self.token, "COLUMNS": "300"}
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=answer, env=env)

    async def kills(self) -> UUID:
        """A dead record, number 1."""
        key = uuid4()
        self.effects.decisions[key, 1] = Never("a charge of another planet")
        await self.effects.hear((key, 1))
        self.effects.decisions.clear()
        return key


@pytest.fixture
async def terminal(effects: Effects, tmp_path: Path) -> AsyncIterator[Terminal]:
    tokens = tokens_in(tmp_path)
    settings = OwnerSettings(
        database_url=effects.db.dsn, issuer=NAME, audience=AUDIENCE, jwks_file=tokens.jwks
    )
    desk = Desk(effects.db, "payments", {NUMBER: Subscription(PaymentReturned, effects.handle)}, edits=True)
    state = {"db": effects.db, "settings": settings, "desk": desk}
    async with serving(make_app("payments", routers=[parked_api.router], state=state)) as url:
        yield Terminal(effects, url, tokens.issuer.make_token(subject=uuid4(), roles=["operator"]))


async def test_a_dead_record_is_found_edited_tried_and_replayed(terminal: Terminal, tmp_path: Path) -> None:
    key = await terminal.kills()
    listed = await terminal.kb("list")
    assert listed.exit_code == 0, listed.output
    assert all(word in listed.output for word in ("payments.in.1", "dead", "NEVER", str(key)))
    assert "NEVER" in (await terminal.kb("list", "--groups")).output
    assert "payments.in.1" in (await terminal.kb("list", "--state", "dead")).output
    assert "payments.in.1" in (await terminal.kb("list", "--since", "2026-01-31T08:00:00Z")).output
    assert "payments.in.1" not in (await terminal.kb("list", "--until", "2026-01-31T08:00:00Z")).output
    shown = (await terminal.kb("show", "payments.in.1", "--payload")).output
    body = json.loads(shown[shown.index("{\n") :])  # the service logs into the same output here
    file = tmp_path / "body.json"
    file.write_text(json.dumps({**body, "intent_id": str(UUID(int=42))}))
    assert "edited" in (await terminal.kb("edit", "payments.in.1", str(file), *WHY)).output
    assert "payments.in.1: unchanged" in (await terminal.kb("dry-run", "payments.in.1")).output
    assert "payments.in.1: parked" in (await terminal.kb("retry", "payments.in.1", *WHY)).output
    await retry_one(terminal.effects.db, {NUMBER: Subscription(PaymentReturned, terminal.effects.handle)})
    assert await terminal.effects.written(key) == [1, 42]
    assert '"state": "replayed"' in (await terminal.kb("show", "payments.in.1")).output


async def test_a_selection_is_replayed_and_watched_to_its_end(terminal: Terminal) -> None:
    key = await terminal.kills()
    hears = {NUMBER: Subscription(PaymentReturned, terminal.effects.handle)}

    async def retrier() -> None:
        while not await retry_one(terminal.effects.db, hears):  # noqa: ASYNC110 - the table tells nobody
            await asyncio.sleep(0.02)

    at_work = asyncio.create_task(retrier())
    done = await terminal.kb("replay", "--service", "payments", "--failure", "NEVER", *WHY)
    await at_work
    assert done.exit_code == 0, done.output
    assert "1 done, 0 waiting" in done.output
    assert await terminal.effects.written(key) == [1, 1]


async def test_a_refusal_is_a_sentence_and_exit_code_2(terminal: Terminal) -> None:
    await terminal.kills()
    assert "payments.in.1: skipped" in (await terminal.kb("skip", "payments.in.1", *WHY)).output
    again = await terminal.kb("retry", "payments.in.1", *WHY)
    assert again.exit_code == 2
    assert "NOT_PARKED: payments.in.1 is skipped since" in again.output
    mixed = await terminal.kb("retry", "payments.in.1", "orders.in.1", *WHY)
    assert (mixed.exit_code, "one service at a time" in mixed.output) == (2, True)
    broken = await terminal.kb("edit", "payments.in.1", "-", *WHY, answer="{")
    assert (broken.exit_code, "no JSON" in broken.output) == (2, True)


async def test_what_answers_is_listed_although_another_service_is_down(
    terminal: Terminal, free_port: Callable[[], int]
) -> None:
    await terminal.kills()
    urls = (f"orders=http://127.0.0.1:{free_port()}", f"payments={terminal.url}")
    found = await terminal.kb("list", urls=urls)
    assert found.exit_code == 2
    assert "payments.in.1" in found.output
    assert "orders does not answer at http://127.0.0.1:" in found.output


@pytest.mark.parametrize("url", ["payments", "nobody=http://127.0.0.1:1", "orders=ftp://127.0.0.1"])
async def test_an_address_that_is_none_is_said_so(terminal: Terminal, url: str) -> None:
    done = await terminal.kb("list", urls=(url,))
    assert (done.exit_code, "--url is SERVICE=URL" in done.output) == (2, True)


async def test_without_a_stack_it_says_how_to_start_one() -> None:
    done = await asyncio.to_thread(CliRunner().invoke, app, ["parked", "--instance", "none-such", "list"])
    assert done.exit_code == 2
    assert "start one with `make dev`" in done.output
