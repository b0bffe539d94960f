"""A service that only tells, and the relays that carry it: what the tests of the relay stand on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
from aiokafka import ConsumerRecord

from contracts.event import Envelope
from contracts.payments import PaymentDeclined, PaymentEvent, PaymentReturned
from services.chassis import outbox
from services.chassis.db import Database
from services.chassis.decisions import Outgoing
from services.chassis.leases import Terms
from services.chassis.outbox_backlog import measure
from services.chassis.relay import Pace, Relay
from tests.support.topic_log import read_all

NAMES = ("payment.declined", "payment.returned", "payment.held")
BRISK = Pace(send_s=3.0, longest_pause_s=0.5, terms=Terms(lease_s=2.0, renew_s=0.3, save_s=0.05))


@dataclass
class World:
    """A service that only tells."""

    db: Database
    dsn: str
    admin_dsn: str
    kafka: str
    prefix: str

    def relay(self, instance: str = "a", *, told: asyncio.Event | None = None, pace: Pace = BRISK) -> Relay:
        return Relay(
            self.dsn,
            service="payments",
            kafka=self.kafka,
            topic_prefix=self.prefix,
            instance=instance,
            told=told,
            pace=pace,
        )

    async def tell(
        self, events: Sequence[PaymentEvent], *, first: int = 1, cause: Envelope | None = None
    ) -> None:
        async with self.db.transaction() as tx:
            told = [Outgoing(event, first + n, cause or Envelope()) for n, event in enumerate(events)]
            await outbox.tell(tx, told)

    async def rows(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.db.transaction() as tx:
            return await tx.fetch(statement, *arguments)

    async def admin(self, statement: str, *arguments: object) -> None:
        connection = await asyncpg.connect(self.admin_dsn)
        await connection.execute(statement, *arguments)
        await connection.close()

    async def published(self) -> bool:
        async with self.db.transaction() as tx:
            return (await measure(tx)).depth == 0

    async def records(self) -> list[ConsumerRecord]:
        return await read_all(self.kafka, [self.prefix + name for name in NAMES])


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[asyncio.Event]:
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(relay.run(stopping)) for relay in relays]
    try:
        yield stopping
    finally:
        stopping.set()
        await asyncio.gather(*tasks)


def declined(key: UUID) -> PaymentDeclined:
    return PaymentDeclined(subject_id=key, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")


def returned(key: UUID) -> PaymentReturned:
    return PaymentReturned(subject_id=key, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")
