"""The simulator as a process: what it knows about money outlives it."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.fakes.esewa import RefusedError, Simulator, running_simulator
from tests.fakes.esewa.faults import Hang
from tests.fakes.esewa.forms import a_form
from tests.fakes.esewa.journal import StateInUseError

START_LIMIT_S = 60


@asynccontextmanager
async def process(state: Path, *more: str) -> AsyncIterator[tuple[Process, Simulator]]:
    """The command with free ports, once it says where it listens."""
    command = ("-m", "tests.fakes.esewa", "--port", "0", "--control-port", "0", "--state", str(state), *more)
    started = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE, stderr=PIPE)
    assert started.stdout is not None
    try:
        async with asyncio.timeout(START_LIMIT_S):
            words = (await started.stdout.readline()).decode().split()
        async with Simulator(
            words[words.index("gateway") + 1], words[words.index("control") + 1]
        ) as simulator:
            yield started, simulator
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_a_killed_simulator_keeps_its_truth(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    async with process(state) as (started, simulator):
        paid = await simulator.pay(simulator.form_url, a_form("ref-1"), follow_return=False)
        await simulator.cancel(simulator.form_url, a_form("ref-2"), follow_return=False)
        await simulator.submit(simulator.form_url, a_form("ref-3"))
        await simulator.profile(comma_amounts=True)
        now = await simulator.clock(advance_s=1_000)
        truth = await simulator.truth()
        started.send_signal(signal.SIGKILL)
        await started.wait()
    async with process(state) as (_, simulator):
        assert await simulator.truth() == truth
        assert [row.status for row in truth] == ["PAID", "CANCELED"]
        assert await simulator.clock() > now
        assert (await simulator.profile()).comma_amounts
        for reference in ("ref-1", "ref-2", "ref-3"):
            with pytest.raises(RefusedError, match="Duplicate"):
                await simulator.submit(simulator.form_url, a_form(reference))
        again = await simulator.pay(simulator.form_url, a_form("ref-4"), follow_return=False)
        assert again.ref_id != paid.ref_id


async def test_a_page_opened_before_a_restart_can_be_paid_after_it(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    async with running_simulator(state=state) as simulator:
        page = httpx2.URL(await simulator.submit(simulator.form_url, a_form("ref-1")))
    async with running_simulator(state=state) as simulator:
        await simulator.finish(simulator.base_url + page.path, "pay", follow_return=False)
        assert [row.reference for row in await simulator.truth()] == ["ref-1"]


async def test_a_line_torn_by_a_kill_is_cut_off(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    async with running_simulator(state=state) as simulator:
        await simulator.pay(simulator.form_url, a_form("ref-1"), follow_return=False)
    with state.open("ab") as file:
        file.write(b'{"event":"paid","sess')
    async with running_simulator(state=state) as simulator:
        await simulator.pay(simulator.form_url, a_form("ref-2"), follow_return=False)
    async with running_simulator(state=state) as simulator:
        assert [row.reference for row in await simulator.truth()] == ["ref-1", "ref-2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_asked_to_stop_it_ends_well_even_while_a_caller_waits(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with process(tmp_path / "state.jsonl") as (started, simulator):
        await simulator.faults(Hang(), op="form")
        waiting = asyncio.create_task(simulator.submit(simulator.form_url, a_form("ref-1")))
        async with asyncio.timeout(START_LIMIT_S):
            while not await simulator.log():  # noqa: ASYNC110 - what we wait for is another process
                await asyncio.sleep(0.01)
        started.send_signal(number)
        assert await started.wait() == 0
        with pytest.raises(httpx2.TransportError):
            await waiting
        assert started.stderr is not None
        assert await started.stderr.read() == b""


async def test_the_key_may_come_from_a_file(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("their key\n")
    more = ("--key-file", str(key_file), "--product-code", "KBSTYLE")
    async with process(tmp_path / "state.jsonl", *more) as (_, simulator):
        await simulator.submit(simulator.form_url, a_form("ref-1", product_code="KBSTYLE", key="their key"))


async def test_two_simulators_never_share_a_truth(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    async with running_simulator(state=state):
        with pytest.raises(StateInUseError):
            async with running_simulator(state=state):
                pass


async def test_a_taken_port_is_named() -> None:
    async with running_simulator() as simulator:
        taken = httpx2.URL(simulator.base_url).port
        assert taken is not None
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{taken}"):
            async with running_simulator(port=taken):
                pass
