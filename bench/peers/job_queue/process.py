"""The replaced design as a process: clients place and settle, workers finalize job after job.

Run as `python -m bench.peers.job_queue.process <socket> <dsn> <mode> <workers>`. In mode `3tx` a job is
acquired, processed and completed in a transaction each, as the design has it; `1tx` does the three in one.
Workers are woken in process, which is kinder to it than the two-minute timer it had. Where `KB_BENCH_DOOR`
holds settings as JSON, checkouts enter by HTTP (`front`) and clients bring in the gateway's answers only.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import asyncpg
import orjson
import uvloop
from asyncpg.pool import PoolConnectionProxy

from bench import catalogue
from bench.peers.job_queue import front
from bench.peers.job_queue.front import PLACE, Opened
from bench.wire import End, clock, connect
from services.chassis.app import collect_rarely
from services.chassis.ids import new_id

CLIENTS: Final = 8
IDLE_POLL_S: Final = 0.05
ADDRESS: Final = bytes(180)
DOOR: Final = "KB_BENCH_DOOR"

SETTLE: Final = "select settle_payment($1, $2, $3, $4, $5)"
ACQUIRE: Final = "select id, payload from acquire_next_job($1)"
ACQUIRE_LOCKED: Final = """
    select id, payload from job_queue where status = 'pending' order by priority, id limit 1
    for update skip locked
"""
FINALIZE: Final = "select finalize_order($1)"
COMPLETE: Final = "select complete_job($1)"


class Queue:
    """One process of the design: its clients, its workers and what they tell the generator."""

    def __init__(self, pool: asyncpg.Pool, end: End, *, mode: str, workers: int) -> None:
        self.pool = pool
        self.end = end
        self.mode = mode
        self.workers = workers
        self.orders: asyncio.Queue[int | Opened] = asyncio.Queue()
        self.numbers: dict[str, int] = {}
        self.work = asyncio.Event()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(self._place_orders())
            for number in range(self.workers):
                tasks.create_task(self._work_off(f"worker-{number}"))
            if DOOR in os.environ:
                tasks.create_task(front.serve(os.environ[DOOR], self.orders.put_nowait, self.stopping))
            listening = tasks.create_task(self._listen())
            await self.stopping.wait()
            listening.cancel()
            self.work.set()
            for _ in range(CLIENTS):
                self.orders.put_nowait(-1)

    async def _listen(self) -> None:
        async for message in self.end.messages():
            for number in message.get("place", ()):
                self.orders.put_nowait(number)

    async def _place_orders(self) -> None:
        """Clients: each places what it is told to and brings in the gateway's answer at once."""
        async with self.pool.acquire() as connection:
            while (one := await self.orders.get()) != -1:
                opened = one if isinstance(one, Opened) else await self._place(connection, one)
                self.numbers[str(opened.intent)] = opened.number
                reference = opened.intent.hex
                body = catalogue.gateway_answer(reference, opened.amount_paisa)
                digest = hashlib.sha256(body.encode()).digest()
                await connection.fetchval(SETTLE, reference, reference, opened.amount_paisa, body, digest)
                self.work.set()

    async def _place(self, connection: PoolConnectionProxy, number: int) -> Opened:
        intent, customer = new_id(), catalogue.customer(number)
        amount = await connection.fetchval(PLACE, intent, customer, ADDRESS, intent.hex)
        return Opened(number, intent, amount)

    async def _work_off(self, worker: str) -> None:
        one_job = self._one_job_in_three if self.mode == "3tx" else self._one_job_in_one
        async with self.pool.acquire() as connection:
            while not self.stopping.is_set():
                self.work.clear()
                intent = await one_job(connection, worker)
                if intent is not None:
                    self.end.send({"finalized": [self.numbers.pop(intent)], "at": clock()})
                    continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.work.wait(), IDLE_POLL_S)

    async def _one_job_in_three(self, connection: PoolConnectionProxy, worker: str) -> str | None:
        job = await connection.fetchrow(ACQUIRE, worker)
        if job is None or job["id"] is None:
            return None
        intent: str = orjson.loads(job["payload"])["intent"]
        await connection.fetchval(FINALIZE, intent)
        await connection.fetchval(COMPLETE, job["id"])
        return intent

    async def _one_job_in_one(self, connection: PoolConnectionProxy, _: str) -> str | None:
        async with connection.transaction():
            job = await connection.fetchrow(ACQUIRE_LOCKED)
            if job is None:
                return None
            intent: str = orjson.loads(job["payload"])["intent"]
            await connection.fetchval(FINALIZE, intent)
            await connection.fetchval(COMPLETE, job["id"])
            return intent


async def main(socket: Path, dsn: str, mode: str, workers: int) -> None:
    collect_rarely()
    size = CLIENTS + workers
    async with asyncpg.create_pool(dsn, min_size=size, max_size=size) as pool:
        queue = Queue(pool, await connect(socket, "job-queue"), mode=mode, workers=workers)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queue.stopping.set)
        await queue.run()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
