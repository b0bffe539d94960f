"""A restart of one process: what it ended with, as its supervision saw it, and how long that took."""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from infra import processes, restart
from infra.processes import Program
from infra.restart import RestartError
from infra.supervisor import State, Supervised

NAME = "orders-0"
READY = """
import http.server, os, signal, sys

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

signal.signal(signal.SIGTERM, lambda *_: os._exit(int(sys.argv[2])))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


@asynccontextmanager
async def kept_running(folder: Path, port: int, code: int) -> AsyncIterator[Supervised]:
    """A process that is ready at that port and ends with that code when it is asked to end."""

    async def answers() -> bool:
        return await processes.accepts("127.0.0.1", port)

    def tell(_: str, state: State, __: str) -> None:
        if state is State.READY:
            write(folder, kept, port)

    command = [sys.executable, "-c", READY, str(port), str(code)]
    kept = Supervised(Program(NAME, command, folder / "log", answers, dict(os.environ)), tell)
    with (folder / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        await kept.begin()
        try:
            yield kept
        finally:
            await kept.end()


def write(folder: Path, kept: Supervised, port: int) -> None:
    told = {
        "addresses": {NAME: f"http://127.0.0.1:{port}"},
        "processes": {NAME: kept.process.pid},
        "ended": {NAME: asdict(kept.ended)} if kept.ended else {},
    }
    (folder / "stack.json").write_text(json.dumps(told))


@pytest.mark.parametrize("code", [0, 7])
async def test_a_restart_tells_the_exit_code_and_how_long_the_end_took(
    tmp_path: Path, free_port: Callable[[], int], code: int
) -> None:
    async with kept_running(tmp_path, free_port(), code) as kept:
        before = kept.process.pid
        [done] = await restart.roll(tmp_path, say=lambda _: None)
        assert (done.name, done.code) == (NAME, code)
        assert 0 < done.stop_s <= done.away_s
        assert kept.process.pid != before


def test_the_code_of_another_process_is_not_taken_for_that_of_this_one() -> None:
    told = {"ended": {NAME: {"pid": 12, "code": 0}}}
    assert restart._code(told, NAME, 12) == 0  # noqa: SLF001 - two processes that fall in a row are hard to time
    with pytest.raises(RestartError, match="fell once more"):
        restart._code(told, NAME, 11)  # noqa: SLF001 - likewise
