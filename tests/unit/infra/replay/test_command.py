"""The replay's command line: what cannot be done is said in a sentence, and nothing is touched."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from infra.replay.history import ITEM_COLUMNS, ITEMS, ORDER_COLUMNS, ORDERS
from tests.support.source import ROOT


def replay(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.replay", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A history without an order."""
    (tmp_path / ORDERS).write_text(",".join(ORDER_COLUMNS))
    (tmp_path / ITEMS).write_text(",".join(ITEM_COLUMNS))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "No such file or directory"),
        ([], "required: data"),
        (["nowhere", "--at-once", "0"], "from 1 to 256"),
        (["nowhere", "--at-once", "many"], "invalid"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(words: list[str], said: str) -> None:
    ended = replay(*words)
    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_nothing_is_forgotten_under_a_replay_that_runs(data: Path) -> None:
    folder = data / "stack"
    folder.mkdir()
    (folder / "replay.jsonl").write_text("")
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = replay(data, "--folder", folder, "--fresh")
    assert ended.returncode != 0
    assert ended.stderr == f"a stack runs in {folder}\n"
    assert (folder / "replay.jsonl").exists()
