"""Every command of `kb` where there is nobody to ask: it says what is wrong and what to do, and ends."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, flock
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Final

import jwt
import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

from infra import restart
from infra.cli import app
from infra.databases import SERVICES
from infra.desk import yourself
from infra.keys import ensure
from infra.parts import AUDIENCE, ISSUER
from infra.restart import RestartError

ID: Final = "0198c0de-0000-7000-8000-000000000001"
WHY: Final = ("--reason", "a test")
COMMANDS: Final = {
    "audit": (),
    "backfill rollup": (),
    "doctor": (),
    "events emit-example": ("order.placed", "--topic-prefix", "mine.", "--yes"),
    "events replay": ("order.placed",),
    "events tail": ("--no-follow",),
    "find": (ID,),
    "heal": ("--list",),
    "outbox reset": ("--service", "orders", "--yes", *WHY),
    "parked dry-run": ("orders.in.1",),
    "parked edit": ("orders.in.1", "-", *WHY),
    "parked list": (),
    "parked replay": ("--service", "orders", "--topic", "order.placed", *WHY),
    "parked retry": ("orders.in.1", *WHY),
    "parked show": ("orders.in.1",),
    "parked skip": ("orders.in.1", *WHY),
    "report empty-orders": (),
    "report orphans": (),
    "restart": (),
    "rollup pause": WHY,
    "rollup resume": (),
    "rollup status": (),
    "token": ("--role", "operator"),
    "trace": (ID,),
}
"""All there are, with what they cannot do without."""
NEEDS_NOBODY: Final = {"token"}


def leaves(command: object, *names: str) -> Iterator[str]:
    """The full names of all commands below this one."""
    if not isinstance(command, TyperGroup):
        yield " ".join(names)
        return
    for name, one in command.commands.items():
        yield from leaves(one, *names, name)


def kb(command: str, instance: str) -> Result:
    """The command with what it needs, about that stack."""
    group, _, verb = command.partition(" ")
    where = ["--instance", instance]
    words = [group, *where, verb] if group == "parked" else [*command.split(), *where]
    return CliRunner().invoke(app, [*words, *COMMANDS[command]], input="{}")


def test_every_command_is_tried_here() -> None:
    assert set(leaves(get_command(app))) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_stack_it_says_how_to_start_one(command: str) -> None:
    done = kb(command, "none-such")
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == (1 if command == "doctor" else 2)
    assert "`make dev`" in done.output


@pytest.fixture
def fallen(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    """A stack that is up as its supervisor sees it, and of which nothing answers."""
    nowhere = f"127.0.0.1:{free_port()}"
    keys = ensure(tmp_path / "secrets")
    told = {
        "addresses": dict.fromkeys(SERVICES, f"http://{nowhere}")
        | {"kafka": nowhere, "postgres": f"postgresql://kb:hush@{nowhere}/postgres"},
        "databases": {one: f"postgresql://kb:hush@{nowhere}/kb_{one}" for one in SERVICES},
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "issuer_key": str(keys.issuer_pem),
        "jwks": str(keys.jwks),
        "processes": {},
    }
    (tmp_path / "stack.json").write_text(json.dumps(told))
    with (tmp_path / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield str(tmp_path)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - NEEDS_NOBODY))
def test_of_a_stack_that_has_fallen_it_says_who_does_not_answer(command: str, fallen: str) -> None:
    done = kb(command, fallen)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == (1 if command == "doctor" else 2), done.output
    said = ("does not answer", "could not ask", "not possible", "cannot look", "cannot be asked", "is called")
    assert any(one in done.output for one in said), done.output
    assert "hush" not in done.output


async def test_a_process_that_has_fallen_just_now_is_waited_for(
    fallen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    written = Path(fallen) / "stack.json"
    told = json.loads(written.read_text()) | {"processes": {"orders-0": ended.pid}}
    written.write_text(json.dumps(told))
    monkeypatch.setattr(restart, "READY_WITHIN_S", 0.1)
    with pytest.raises(RestartError, match="orders-0 was not ready"):
        await restart.restart(Path(fallen), "orders-0")


class Asked(BaseHTTPRequestHandler):
    """A service that answers everything, and remembers who asked."""

    by: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        token = self.headers["authorization"].removeprefix("Bearer ")
        self.by.append(jwt.decode(token, options={"verify_signature": False})["sub"])
        body = json.dumps({"data": [], "next": None, "state": "running"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing: what it has to say is in `by`."""


def test_a_person_is_the_same_in_the_log_of_actions_whatever_command_was_given(fallen: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        written = Path(fallen) / "stack.json"
        told = json.loads(written.read_text())
        told["addresses"] |= dict.fromkeys(SERVICES, f"http://127.0.0.1:{server.server_port}")
        written.write_text(json.dumps(told))
        for command in ("parked list", "heal", "rollup status", "rollup status"):
            assert kb(command, fallen).exit_code == 0
        server.shutdown()
    assert len(Asked.by) >= 4
    assert set(Asked.by) == {str(yourself())}
