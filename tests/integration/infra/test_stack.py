"""The stack: what dies is started again, what ends leaves nothing behind."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import processes, stack
from infra.installation import NotRunningError
from infra.ports import free_port
from infra.processes import Program
from infra.progress import silent
from infra.stack import AlreadyRunningError, Stack
from infra.supervisor import State, Supervised
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]

HOLDS_A_STACK = """
import asyncio, sys
from pathlib import Path
from infra.progress import silent
from infra.stack import Stack, ended_by_sigterm

async def main():
    async with ended_by_sigterm(), Stack(Path(sys.argv[1]), services=[], report=silent):
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, as a checkout usually is."""
    with tempfile.TemporaryDirectory(prefix="kb-stack-") as place:
        Path(place).chmod(0o711)
        yield Path(place) / "run"


async def test_a_stopped_stack_leaves_no_process_and_no_open_port(folder: Path) -> None:
    async with Stack(folder, services=[], report=silent) as running:
        pids = [running.process(name).pid for name in running.names]
        bootstrap = running.addresses["kafka"]
        assert len(pids) == 3
        with pytest.raises(AlreadyRunningError):
            async with Stack(folder, services=[], report=silent):
                pass
    assert not [pid for pid in pids if _lives(pid)]
    host, _, port = bootstrap.partition(":")
    assert not await processes.accepts(host, int(port))
    assert not (folder / "stack.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_whatever_ends_the_stack_ends_its_processes(folder: Path, number: signal.Signals) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDS_A_STACK, str(folder), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"up\n"
    pids = list(stack.describe(folder)["processes"].values())
    assert all(_lives(pid) for pid in pids)
    holder.send_signal(number)
    await holder.wait()

    async def gone() -> bool:
        return not any(_lives(pid) for pid in pids)

    await until(gone, what="every process of the stack has ended")
    with pytest.raises(NotRunningError):
        stack.describe(folder)


async def test_a_dead_program_is_started_again(tmp_path: Path) -> None:
    told: list[State] = []
    program = _sleeper(tmp_path)
    kept = Supervised(program, lambda _, state, __: told.append(state))
    await kept.begin()
    try:
        before = kept.process.pid
        kept.kill()
        await kept.wait_ready(10)
        assert kept.process.pid != before
        assert _lives(kept.process.pid)
    finally:
        await kept.end()
    assert told == [State.STARTING, State.READY, State.RESTARTING, State.READY, State.STOPPED]
    assert not _lives(kept.process.pid)


async def test_a_program_that_ends_at_its_start_is_reported_with_its_own_words(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    command = [sys.executable, "-c", "import sys; sys.exit('no such database')"]
    program = Program("reader", command, tmp_path / "log", answers=never, env={})
    with pytest.raises(processes.StartFailedError, match=r"reader ended with code 1[^*]*no such database"):
        await Supervised(program, silent).begin()


def test_a_port_is_given_once_also_to_another_process() -> None:
    mine = {free_port() for _ in range(50)}
    script = "from infra.ports import free_port; print(*[free_port() for _ in range(50)])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert len(mine) == 50
    assert mine.isdisjoint(int(port) for port in done.stdout.split())


def _sleeper(folder: Path) -> Program:
    return Program(
        "sleeper", ["sleep", "600"], folder / "log", answers=processes.never_asked, env=dict(os.environ)
    )


def _lives(pid: int) -> bool:
    """Whether it runs; a dead child nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
