"""A fault counts when somebody suffered from it, hits whom its seed chose, and takes nothing with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from infra.parts import ROOT
from infra.ports import free_port
from infra.processes import Program, never_asked
from infra.stack import Stack
from infra.supervisor import Supervised
from tests.chaos import ground as ground_module
from tests.chaos import line_faults, outside_faults, process_faults
from tests.chaos.ground import Ground, NothingHitError
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import Planned
from tests.fakes.esewa import Simulator, running_simulator
from tests.fakes.esewa.faults import Http

TARGET = "orders-0"


def token(**_: object) -> str:
    return "a token"


def planned(kind: str, target: str = "-", *, lasts_s: float = 0.0, chance: int = 7) -> Planned:
    return Planned(0, 0.0, kind, target, lasts_s, chance)


@pytest.fixture
async def esewa() -> AsyncIterator[Simulator]:
    async with running_simulator() as simulator:
        yield simulator


def a_ground(folder: Path, esewa: Simulator, orders: Proxy | None = None) -> Ground:
    """Nothing of it runs but what a test starts."""
    proxy = orders or Proxy(free_port(), free_port())
    return Ground(Stack(folder), {"orders": proxy}, proxy, esewa, token)


def test_whose_connection_is_ended_is_decided_by_the_seed() -> None:
    pids, chances = list(range(100, 140)), range(20)
    chosen = [line_faults.victims(planned("end", chance=one), pids, 1) for one in chances]
    backwards = [line_faults.victims(planned("end", chance=one), pids[::-1], 1) for one in chances]
    assert chosen == backwards
    assert len({tuple(one) for one in chosen}) > 5
    assert sorted(line_faults.victims(planned("end"), pids, line_faults.ALL)) == pids
    assert line_faults.victims(planned("end"), [], 1) == []


async def asked(esewa: Simulator, times: int) -> None:
    """The status of a payment that nobody knows; the answers do not matter."""
    params = {"product_code": "EPAYTEST", "total_amount": "110", "transaction_uuid": "ref-1"}
    async with httpx2.AsyncClient(trust_env=False, timeout=0.2) as client:
        for _ in range(times):
            with contextlib.suppress(httpx2.HTTPError):
                await client.get(esewa.status_url, params=params)


async def test_a_gateway_that_misbehaved_at_nobody_does_not_count_and_leaves_no_rule(
    tmp_path: Path, esewa: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground_module, "LONGER_S", 0.01)
    with pytest.raises(NothingHitError):
        await outside_faults.misbehave(a_ground(tmp_path, esewa), planned("gateway misbehaves"))
    assert await esewa.standing_faults() == []


async def test_a_gateway_that_misbehaved_counts_and_leaves_the_rules_of_others(
    tmp_path: Path, esewa: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside_faults, "STATUS_FAULTS", (Http(status=500),))
    wanted = planned("gateway misbehaves", lasts_s=60.0)
    misbehaving = asyncio.create_task(outside_faults.misbehave(a_ground(tmp_path, esewa), wanted))
    async with asyncio.timeout(30):
        while not any(rule["fired"] for rule in await esewa.standing_faults()):
            await asked(esewa, 3)
    other = await esewa.faults(Http(status=502), op="status", times=None)
    misbehaving.cancel()  # as the end of a run would
    with pytest.raises(asyncio.CancelledError):
        await misbehaving
    assert [rule["id"] for rule in await esewa.standing_faults()] == [other]


async def test_a_gateway_that_misbehaves_when_the_run_ends_waits_for_somebody(
    tmp_path: Path, esewa: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside_faults, "STATUS_FAULTS", (Http(status=500),))
    wanted = planned("gateway misbehaves", lasts_s=0.0)
    misbehaving = asyncio.create_task(outside_faults.misbehave(a_ground(tmp_path, esewa), wanted))
    async with asyncio.timeout(30):
        while not misbehaving.done():
            await asked(esewa, 3)
    assert (await misbehaving).startswith("http, ")
    assert await esewa.standing_faults() == []


async def test_a_process_that_has_ended_cannot_be_paused() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    await process_faults.paused(process, 0.0)
    process.kill()
    await process.wait()
    with pytest.raises(NothingHitError):
        await process_faults.paused(process, 0.0)


async def test_a_process_that_is_down_cannot_be_killed(tmp_path: Path, esewa: Simulator) -> None:
    ground = a_ground(tmp_path, esewa)
    program = Program(TARGET, ["sleep", "60"], tmp_path / "log", never_asked, {}, cwd=ROOT)
    supervised = Supervised(program, lambda *_: None)
    await supervised.begin()
    ground.stack._supervised[TARGET] = supervised  # noqa: SLF001 - a stack of one program
    try:
        assert await process_faults.kill_one(ground, planned("kill one process", TARGET)) == TARGET
        await supervised.process.wait()
        with pytest.raises(NothingHitError):  # it starts again after a pause
            await process_faults.kill_one(ground, planned("kill one process", TARGET))
    finally:
        await supervised.end()


@contextlib.asynccontextmanager
async def a_line() -> AsyncIterator[tuple[Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through a proxy to a server that answers what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    port = free_port()
    server = await asyncio.start_server(echo, "127.0.0.1", port)
    async with Proxy(free_port(), port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        assert await reader.read(1000) == b"hello"
        yield proxy, reader, writer
        writer.close()
    server.close()


@pytest.mark.parametrize("name", ["silent database", "slow database", "trickling database"])
async def test_a_line_on_which_nobody_speaks_does_not_suffer(
    name: str, tmp_path: Path, esewa: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground_module, "LONGER_S", 0.01)
    async with a_line() as (proxy, reader, writer):
        ground, fault = a_ground(tmp_path, esewa, proxy), line_faults.FAULTS[name]
        with pytest.raises(NothingHitError):
            await fault(ground, planned(name, "orders"))
        monkeypatch.setattr(ground_module, "LONGER_S", 30.0)
        writer.write(b"hello")
        assert (await fault(ground, planned(name, "orders"))).endswith(" pieces on the line of orders")
        assert await reader.read(1000) == b"hello"


async def test_a_broker_that_is_away_while_nobody_is_connected_does_not_count(
    tmp_path: Path, esewa: Simulator
) -> None:
    wanted = planned("broker away")
    async with a_line() as (proxy, reader, _):
        ground = a_ground(tmp_path, esewa, proxy)
        assert await line_faults.broker_away(ground, wanted) == "1 connections"
        with contextlib.suppress(ConnectionError):
            assert await reader.read(1000) == b""
        with pytest.raises(NothingHitError):
            await line_faults.broker_away(ground, wanted)


async def test_clients_who_do_not_even_come_in_are_not_counted() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", port := free_port())
    async with contextlib.AsyncExitStack() as after:
        assert outside_faults.half_said(f"http://127.0.0.1:{port}", token, after) == 54
    server.close()
    async with contextlib.AsyncExitStack() as after:
        assert outside_faults.half_said(f"http://127.0.0.1:{free_port()}", token, after) == 0
