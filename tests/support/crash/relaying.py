"""The relay as a process that can end at any of its steps, and a broker that remembers what reached it."""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg

from services.chassis.leases import Terms
from services.chassis.outbox_backlog import measure
from services.chassis.publisher import Row
from services.chassis.relay import SESSION, Pace, Relay
from tests.support.crash.fate import Fate, Killed, mortal
from tests.support.torture.stub_broker import StubBroker

HASTY: Final = Pace(
    send_s=2.0,
    idle_poll_s=0.02,
    busy_poll_s=0.01,
    gather_s=0.0,
    terms=Terms(lease_s=10.0, renew_s=0.1, save_s=0.01),
)
WITHIN_S: Final = 20.0


class MortalSink:
    """The way to the broker of a process that may end before or after each send."""

    def __init__(self, broker: StubBroker, fate: Fate) -> None:
        self.broker, self.fate = broker, fate

    async def publish(self, _part: int, rows: Sequence[Row], _within_s: float) -> None:
        await self.fate.take("(send)", lambda: self._deliver(rows))

    async def _deliver(self, rows: Sequence[Row]) -> None:
        self.broker.append(rows)

    async def close(self) -> None:
        """Nothing is open."""


class MortalRelay(Relay):
    """The real relay, its connections and its sends sharing one fate; always the same instance."""

    def __init__(self, dsn: str, broker: StubBroker, fate: Fate) -> None:
        super().__init__(
            dsn, service="crash", kafka="", instance="crash", pace=HASTY, sink=MortalSink(broker, fate)
        )
        self.fate = fate
        self.opened: list[asyncpg.Connection] = []

    async def _connect(self) -> asyncpg.Connection:
        if self.fate.dead.is_set():
            raise Killed
        connection = await asyncpg.connect(
            self._dsn,
            timeout=5.0,
            server_settings=SESSION | {"application_name": "mortal"},
            connection_class=mortal(self.fate),
        )
        self.opened.append(connection)
        return connection


async def live(dsn: str, admin: asyncpg.Connection, broker: StubBroker, fate: Fate) -> None:
    """One process, until it dies or everything is published and it was asked to stop."""
    relay, stopping = MortalRelay(dsn, broker, fate), asyncio.Event()
    running = asyncio.create_task(relay.run(stopping))
    others = [asyncio.create_task(fate.dead.wait()), asyncio.create_task(_published(admin))]
    try:
        async with asyncio.timeout(WITHIN_S):
            await asyncio.wait({running, *others}, return_when=asyncio.FIRST_COMPLETED)
            stopping.set()
            if fate.dead.is_set():
                running.cancel()
            await asyncio.wait({running})
    finally:
        for task in (running, *others):
            task.cancel()
        await asyncio.wait({running, *others})
        for connection in relay.opened:
            connection.terminate()
    if not fate.dead.is_set():
        running.result()


async def _published(admin: asyncpg.Connection) -> None:
    """Returns once every cursor is behind everything that was told."""
    while (await measure(admin)).depth:  # noqa: ASYNC110 - what is awaited is written to tables
        await asyncio.sleep(0.005)
