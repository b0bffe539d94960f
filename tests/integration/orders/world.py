"""Orders on a real database, and the shortest way to put something into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.db import Database
from services.chassis.decisions import Verdicts
from services.chassis.ids import new_id
from services.orders import handlers
from services.orders.actions import checkout as checkouts
from services.orders.domain import Checkout, PlaceCheckout
from services.orders.store import carts
from services.orders.store.checkouts import lock_checkouts
from tests.unit.orders import making


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders on a real database: what its doors would do, one call each."""

    db: Database
    admin_dsn: str

    async def put(self, user: UUID, **quantities: int) -> None:
        async with self.db.transaction() as tx:
            for sku, quantity in quantities.items():
                await carts.put_line(tx, user, sku, quantity, 50)

    async def place(self, *users: UUID, **said: Any) -> Verdicts[Checkout]:  # noqa: ANN401
        async with self.db.transaction() as tx:
            return await checkouts.place_checkouts(tx, [a_command(user, **said) for user in users])

    async def placed(self, user: UUID, **quantities: int) -> Checkout:
        """A checkout of these SKUs, in `reserving`."""
        await self.put(user, **quantities or {"kurta": 2})
        [checkout] = (await self.place(user)).changed.values()
        return checkout

    async def hear(self, *events: Any) -> Verdicts[Any]:  # noqa: ANN401
        """Hand these events of one topic to their handler, in one transaction."""
        handler = handlers.consumer.subscriptions[events[0].TOPIC].handler
        async with self.db.transaction() as tx:
            return await handler(tx, events)

    async def awaiting_payment(self, user: UUID, **quantities: int) -> Checkout:
        placed = await self.placed(user, **quantities)
        await self.hear(making.reserved(placed))
        return await self.read(placed.order_id)

    async def confirmed(self, user: UUID, **quantities: int) -> Checkout:
        """A checkout that has become an order."""
        waiting = await self.awaiting_payment(user, **quantities)
        await self.hear(making.verified(waiting.order_id, amount_paisa=waiting.total_paisa or 0))
        return await self.read(waiting.order_id)

    async def read(self, order_id: UUID | str) -> Checkout:
        order_id = UUID(str(order_id))
        async with self.db.transaction() as tx:
            return (await lock_checkouts(tx, [order_id]))[order_id]

    async def rows(self, statement: str, *arguments: object) -> Sequence[asyncpg.Record]:
        async with self.db.transaction() as tx:
            return await tx.fetch(statement, *arguments)

    async def told(self, order_id: UUID) -> list[str]:
        """The topics told about this order, in order."""
        statement = "select topic from outbox where key = $1 order by key_seq"
        return [row["topic"] for row in await self.rows(statement, str(order_id))]

    async def as_admin(self, statement: str, *arguments: object) -> None:
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()


def a_command(user: UUID, **said: Any) -> PlaceCheckout:  # noqa: ANN401
    known: dict[str, Any] = {
        "order_id": new_id(),
        "customer_id": user,
        "method": "esewa",
        "pay_within_s": 900,
        "address": b"sealed",
    }
    return PlaceCheckout(**known | said)
