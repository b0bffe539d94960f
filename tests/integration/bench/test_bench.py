"""What the benchmark refuses: a run that left wrong data, that never ended, or whose load came too late."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bench import customers, everything
from bench.backlog import Fared, Patient
from bench.by_http import ByHttp
from bench.customers import Customers
from bench.ground import Ground
from bench.latency import buckets, spread
from bench.load import (
    AuditFailedError,
    Cpu,
    NotFinishedError,
    Progress,
    Run,
    closed_loop,
    open_loop,
    poisson,
)
from bench.peers.job_queue.contender import JobQueue
from bench.results import Gate
from bench.wire import clock
from infra.ports import free_port
from tests.conftest import Server
from tests.support.waiting import until


class Imaginary:
    """A contender that finalizes every order at once, or has died; its data is as wrong as it is told."""

    name = "imaginary"

    def __init__(self, *, wrong: Sequence[str] = (), alive: bool = True) -> None:
        self.progress = Progress()
        self.wrong = list(wrong)
        self.alive = alive

    async def prepare(self, orders: int) -> None:
        """It has no data."""

    async def start(self) -> None:
        """It has no processes."""

    def submit(self, numbers: Sequence[int]) -> None:
        if self.alive:
            self.progress.finalized |= dict.fromkeys(numbers, clock())
            self.progress.settled = len(self.progress.finalized)
            self.progress.moved.set()

    def is_alive(self) -> bool:
        return self.alive

    def pids(self) -> list[int]:
        return []

    async def finish(self) -> dict[str, Any]:
        return {}

    async def audit(self, orders: int) -> list[str]:  # noqa: ARG002 - it has none to count
        return self.wrong


@pytest.fixture
def ground(postgres: Server, tmp_path: Path) -> Ground:
    return Ground(tmp_path, postgres.admin_dsn, postgres_pid=os.getpid())


async def test_a_run_is_measured_from_the_intended_starts(ground: Ground) -> None:
    starts = poisson(rate=200, seconds=0.5)
    run = await open_loop(Imaginary(), ground, starts, within_s=20)
    assert run.latency.count == run.orders == len(starts)


async def test_a_run_that_left_wrong_data_has_no_figures(ground: Ground) -> None:
    with pytest.raises(AuditFailedError, match="one order too many"):
        await open_loop(Imaginary(wrong=["one order too many"]), ground, poisson(200, 0.1), within_s=20)


async def test_a_process_that_died_ends_the_run(ground: Ground) -> None:
    with pytest.raises(NotFinishedError, match="a process has ended"):
        await open_loop(Imaginary(alive=False), ground, poisson(200, 0.1), within_s=20)


def test_a_schedule_is_the_same_for_every_contender() -> None:
    assert poisson(rate=50, seconds=2) == poisson(rate=50, seconds=2)


def test_a_run_whose_load_came_late_is_void() -> None:
    costs = Cpu(python=0, postgres=0, broker=0)
    run = Run(orders=100, seconds=1, cpu=costs, latency=spread([0.001]), late_share=0.02)
    assert run.void


def test_latencies_are_told_in_milliseconds() -> None:
    told = spread([0.001] * 99 + [0.5])
    assert told.p50 == pytest.approx(1.0, rel=0.01)
    assert told.longest == pytest.approx(500, rel=0.01)


def test_batch_sizes_fall_into_the_bucket_that_holds_them() -> None:
    assert buckets([1, 2, 3, 500, 501]) == {"<=1": 1, "<=2": 1, "<=5": 1, "<=500": 2}


@pytest.mark.parametrize(("value", "met"), [(2.9, False), (3.0, True), (3.1, True)])
def test_a_gate_at_its_floor_is_met(value: float, *, met: bool) -> None:
    assert Gate("ratio", value, "at least", 3.0).met is met


async def test_the_replaced_design_is_entered_by_http_and_answers_every_customer(ground: Ground) -> None:
    door = ByHttp(ground, JobQueue(ground, "1tx", 2, door=free_port()))
    run = await closed_loop(door, ground, orders=40, in_flight=20, within_s=60)
    assert run.answers.count == run.orders == 40
    assert len(door.progress.finalized) == 50  # ten more to warm up


@asynccontextmanager
async def door_that_says(*heads: bytes) -> AsyncIterator[int]:
    """The port of a server that answers one request after the other so, with an empty body."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            for head in heads:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, customers.HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_customer_who_is_refused_ends_the_run() -> None:
    async with door_that_says(b"409 Conflict") as port:
        asking = Customers(port, {1: b"POST / HTTP/1.1\r\n\r\n"}, Progress())
        await asking.come()
        asking.place([1])
        with pytest.raises(customers.RefusedError, match="409 conflict"):
            await _until_somebody_is_refused(asking)
        await asking.go()


async def test_a_customer_asks_again_where_the_service_was_too_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customers, "ASK_AGAIN_S", 0.0)
    progress = Progress()
    async with door_that_says(b"503 Service Unavailable", b"201 Created") as port:
        asking = Customers(port, {1: b"POST / HTTP/1.1\r\n\r\n"}, progress)
        await asking.come()
        asking.place([1])
        await until(lambda: _is_answered(progress))
        await asking.go()
    assert progress.asked_again == 1
    assert progress.answered[1] >= progress.asked[1]


async def test_patient_customers_take_a_refusal_for_an_answer_and_see_when_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(customers, "AT_ONCE", 1)
    progress = Progress()
    busy = b"503 Service Unavailable"
    async with door_that_says(busy + b"\r\nRetry-After: 5", busy, b"201 Created") as port:
        asking = Patient(port, dict.fromkeys(range(3), b"POST / HTTP/1.1\r\n\r\n"), progress)
        await asking.come()
        asking.place(range(3))
        await until(lambda: _are_answered(asking))
        await asking.go()
    fared = Fared(asked=progress.asked, answers=asking.answers)
    assert (fared.taken, fared.refused, fared.without_retry_after) == ([2], [0, 1], 1)


async def _are_answered(asking: Patient) -> bool:
    return asking.all_well() and len(asking.answers) == 3


async def _is_answered(progress: Progress) -> bool:
    return bool(progress.answered)


async def _until_somebody_is_refused(asking: Customers) -> None:
    async with asyncio.timeout(10):
        while asking.all_well():  # noqa: ASYNC110 - the driver looks every now and then, too
            await asyncio.sleep(0.01)


def test_all_measurements_run_also_after_one_that_failed() -> None:
    said: list[str] = []
    odd = everything.Measurement(("no-such-command",), 0)
    helped = everything.Measurement(("limits", "--help"), 0)
    assert everything.measure(said.append, [odd, helped]) == 1
    assert "ENDED with 2" in said[-2]
    assert said[-1].startswith("limits --help    met, ")
