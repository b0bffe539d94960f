"""How soon a dead relay is seen, by what a process that relays nothing itself says of the outbox."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx2
from fastapi import FastAPI

from bench.wire import clock
from services.chassis import ops
from services.chassis.back_pressure import Pressure
from services.chassis.db import Database
from services.chassis.ids import new_id
from services.chassis.leases import Terms
from services.chassis.relay import Pace, Relay
from tests.support.torture.stub_broker import StubBroker, StubSink
from tests.support.torture.writers import TELL
from tests.support.waiting import until
from tests.support.web import serving

WAITS_S: Final = 5.0
"""An event that is older than this says that nobody publishes: a living relay needs milliseconds."""
WITHIN_S: Final = 60.0
ASKS_EVERY_S: Final = 0.1
OLDEST: Final = re.compile(r"^kb_outbox_oldest_age_seconds\{[^}]*\} (\S+)$", re.MULTILINE)
LONG_LEASES: Final = Pace(terms=Terms(lease_s=600, renew_s=0.3))


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds from an event told after the relay's death until it is seen; looks that saw one before."""

    after_s: float
    false_alarms: int


async def torture_visibility(dsn: str, *, rounds: int) -> Seen:
    """A relay works beside a process that only answers; then it dies with its leases, like a frozen one."""
    broker, db = StubBroker(), Database(dsn, name="visible", size=4)
    relay = Relay(dsn, service="orders", kafka="", pace=LONG_LEASES, sink=StubSink(broker))
    relaying = asyncio.create_task(relay.run(asyncio.Event()))
    false_alarms = 0
    try:
        async with _answering(db) as client:
            for told in range(1, rounds + 1):
                await _tell(db, told)
                await until(lambda: _arrived(broker, told), what="a living relay to publish")  # noqa: B023 - awaited here
                false_alarms += await _oldest_s(client) > WAITS_S
            relay.leases.held.clear()  # so that nothing is saved or handed back
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
            told_at = clock()
            await _tell(db, rounds + 1)
            await _see(client)
            return Seen(clock() - told_at, false_alarms)
    finally:
        relaying.cancel()
        await db.close()


@asynccontextmanager
async def _answering(db: Database) -> AsyncIterator[httpx2.AsyncClient]:
    """What answers HTTP in a process, with the gauges that every process keeps."""
    stopping, pressure = asyncio.Event(), Pressure(20_000, 120.0)
    watching = asyncio.create_task(ops.watch_outbox(db, pressure, stopping))
    app = FastAPI()
    app.include_router(ops.router)
    try:
        await until(lambda: _measured(pressure), what="the first look at the outbox")
        async with (
            serving(app) as url,
            httpx2.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            yield client
    finally:
        stopping.set()
        await watching


async def _oldest_s(client: httpx2.AsyncClient) -> float:
    return max((float(one) for one in OLDEST.findall((await client.get("/metrics")).text)), default=0.0)


async def _see(client: httpx2.AsyncClient) -> None:
    began = clock()
    while clock() - began < WITHIN_S and await _oldest_s(client) <= WAITS_S:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(ASKS_EVERY_S)


async def _tell(db: Database, number: int) -> None:
    async with db.transaction() as tx:
        await tx.execute(TELL, [number % 12], [f"key-{number}"], [1], [new_id()])


async def _measured(pressure: Pressure) -> bool:
    return pressure.backlog is not None


async def _arrived(broker: StubBroker, count: int) -> bool:
    return len(broker.first) >= count
