"""Gate 5: two processes place orders and publish for each other, and the server's log shows who notified."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg

from contracts.topics import PARTITIONS
from infra import databases, postgres
from services.chassis.db import Database
from services.chassis.ids import new_id
from services.chassis.leases import Terms
from services.chassis.migrate import migrate
from services.chassis.relay import Pace, Relay
from services.chassis.wake import CHANNEL
from services.orders.actions.checkout import place_checkouts
from services.orders.domain import PlaceCheckout
from tests.support import statement_log
from tests.support.torture.stub_broker import StubBroker, StubSink
from tests.support.waiting import until

SERVICE = "orders"
PASSWORD = "torture"
PATIENT = Pace(busy_poll_s=600, idle_poll_s=600, terms=Terms(lease_s=30, renew_s=0.2, save_s=0.05))
"""Looks only when it is woken: what arrives has been hinted at."""
FILL_CART = "insert into cart_lines (user_id, sku, quantity) values ($1, 'SKU-1', 1)"
NOTIFYING_CODE = (
    "select proname from pg_proc where prosrc ~* 'notify' and pronamespace = 'public'::regnamespace"
)
CONTROL = f"select pg_notify('{CHANNEL}', '')"


@dataclass(frozen=True, slots=True)
class WakeTorture:
    """What the log says, and what the negative control's transactions look like in it."""

    placed: int
    published: int
    hints: int
    inside: int
    """Transactions that notified and did more; must be none."""
    functions: int
    """Functions of the database that notify; must be none."""
    control_inside: int


@dataclass(slots=True)
class Teller:
    """One process of the service: a pool to tell with, and a relay that publishes its share."""

    db: Database
    relay: Relay

    @classmethod
    def of(cls, dsn: str, name: str, broker: StubBroker) -> "Teller":
        db = Database(dsn, name=name, size=4)
        relay = Relay(
            dsn, service=SERVICE, kafka="", instance=name, told=db.told, pace=PATIENT, sink=StubSink(broker)
        )
        relay.news = db.news
        return cls(db, relay)

    async def place(self, *, notify: bool = False) -> None:
        """One checkout in one transaction, notifying in it as it must not be done if so asked."""
        customer = uuid4()
        async with self.db.transaction() as tx:
            await tx.execute(FILL_CART, customer)
        command = PlaceCheckout(
            order_id=new_id(), customer_id=customer, method="esewa", pay_within_s=900, address=bytes(180)
        )
        async with self.db.transaction() as tx:
            await place_checkouts(tx, [command])
            if notify:
                await tx.execute(CONTROL)


async def torture_waking(folder: Path, *, orders: int) -> WakeTorture:
    """Place so many orders in turns; every one must be published by its shard's holder, without a poll."""
    server = await postgres.start(
        folder / "postgres", password=PASSWORD, auth="trust", fsync=False, extra=statement_log.LOGGING
    )
    try:
        dsn = await databases.provision(server.admin_dsn, SERVICE, PASSWORD)
        admin_dsn = databases.database_dsn(server.admin_dsn, f"kb_{SERVICE}")
        await migrate(admin_dsn, SERVICE)
        broker = StubBroker()
        await _work(dsn, broker, orders)
        clean = statement_log.transactions(server.log)
        await _notify_inside(dsn)
        return WakeTorture(
            placed=orders,
            published=len(broker.first),
            hints=statement_log.hints(clean),
            inside=len(statement_log.notifying(clean)),
            functions=await _notifying_functions(admin_dsn),
            control_inside=len(statement_log.notifying(statement_log.transactions(server.log))),
        )
    finally:
        await server.stop()


async def _work(dsn: str, broker: StubBroker, orders: int) -> None:
    stopping = asyncio.Event()
    async with AsyncExitStack() as after:
        tellers = [Teller.of(dsn, name, broker) for name in ("a", "b")]
        tasks = [asyncio.create_task(one.relay.run(stopping)) for one in tellers]
        after.push_async_callback(_end, tellers, tasks, stopping)
        await until(lambda: _shared(tellers), what="both relays to hold a share")
        for number in range(orders):
            await tellers[number % 2].place()
        told = await _told(tellers[0].db)
        await until(lambda: _arrived(broker, told), what="everything to be published")


async def _shared(tellers: list[Teller]) -> bool:
    return all(len(one.relay.leases.held) == PARTITIONS // 2 for one in tellers)


async def _arrived(broker: StubBroker, told: int) -> bool:
    return len(broker.first) == told


async def _told(db: Database) -> int:
    async with db.transaction() as tx:
        return int(await tx.fetchval("select count(*) from outbox"))


async def _end(tellers: list[Teller], tasks: list[asyncio.Task[None]], stopping: asyncio.Event) -> None:
    stopping.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    for one in tellers:
        await one.db.close()


async def _notify_inside(dsn: str) -> None:
    """The negative control: the same order, its relay woken from within the transaction."""
    teller = Teller.of(dsn, "control", StubBroker())
    try:
        await teller.place(notify=True)
    finally:
        await teller.db.close()


async def _notifying_functions(admin_dsn: str) -> int:
    connection = await asyncpg.connect(admin_dsn)
    try:
        return len(await connection.fetch(NOTIFYING_CODE))
    finally:
        await connection.close()
