"""One test run: its folder, its keeper of servers, and how a worker asks for one."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = "KB_TEST_RUN_FOLDER"
CONNECTS_WITHIN_S = 30.0
ANSWERS_WITHIN_S = 300.0  # the first run of a checkout also fetches the broker
ENDS_WITHIN_S = 60.0


def begin() -> subprocess.Popen[bytes]:
    """Called once, by the process that controls the run; workers inherit the folder's name."""
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    folder.chmod(0o711)  # PostgreSQL, started by root, runs as another user and must reach its own folder
    os.environ[FOLDER] = str(folder)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.keeper", str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C ends the run; the end of the run ends the keeper
    )


def end(keeper: subprocess.Popen[bytes]) -> None:
    """Returns when the servers are stopped and the folder is gone."""
    if keeper.stdin is not None:
        keeper.stdin.close()
    try:
        keeper.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    del os.environ[FOLDER]


def ask(wish: str) -> str:
    """The keeper's answer, waiting while it starts what was wished for."""
    with socket.socket(socket.AF_UNIX) as line:
        _connect(line, Path(os.environ[FOLDER]) / "socket")
        line.settimeout(ANSWERS_WITHIN_S)
        line.sendall(wish.encode() + b"\n")
        answer = json.loads(line.makefile().readline())
    if "error" in answer:
        raise RuntimeError(f"no {wish} for the tests: {answer['error']}")
    return str(answer["ok"])


def _connect(line: socket.socket, path: Path) -> None:
    """The keeper needs a moment to start; a run whose first test asks at once waits for it here."""
    give_up = time.monotonic() + CONNECTS_WITHIN_S
    while True:
        try:
            line.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return
