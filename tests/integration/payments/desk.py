"""A desk to drive payments from: events in, answers of a gateway in, and everything that came of them."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from contracts.inventory import StockReserved
from services.chassis.db import Database
from services.chassis.decisions import Verdicts
from services.chassis.ids import new_id
from services.payments import actions
from services.payments.actions.settling import seen
from services.payments.gateways import Gateways
from services.payments.providers import Answer
from services.payments.verdicts import Paid, Verdict

TOTAL = 349_00


def reserved(order_id: UUID | None = None, **changes: object) -> StockReserved:
    """Stock held for one order that eSewa is to be paid for."""
    facts: dict[str, Any] = {
        "order_id": order_id or new_id(),
        "customer_id": new_id(),
        "method": "esewa",
        "hold_no": 1,
        "pay_within_s": 900,
        "lines": (),
        "deliveries": (),
        "total_paisa": TOTAL,
    }
    return StockReserved(**(facts | changes))


@dataclass
class Desk:
    """Payments without its process."""

    db: Database
    admin: asyncpg.Connection
    gateways: Gateways
    txns: int = field(default=0)

    async def open(self, *events: StockReserved) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.open_intents(tx, events, self.gateways)

    async def opened(self, **changes: object) -> UUID:
        """A fresh intent with one attempt."""
        event = reserved(**changes)
        await self.open(event)
        return event.order_id

    async def attempts(self, order_id: UUID) -> list[asyncpg.Record]:
        return await self.admin.fetch("select * from attempts where subject_id = $1 order by id", order_id)

    async def answer(self, order_id: UUID, verdict: Verdict, *, attempt: int = 0) -> Verdicts[Any]:
        """The gateway says this about that attempt."""
        row = (await self.attempts(order_id))[attempt]
        said = seen(order_id, row["id"], row["provider"], Answer(verdict, 200, "{}", b"{}"))
        async with self.db.transaction() as tx:
            return await actions.settle(tx, [said], self.gateways.plan)

    def paid(self, amount_paisa: int = TOTAL, txn_id: str | None = None) -> Paid:
        """Money, under a number the gateway has not used before."""
        self.txns += 1
        return Paid(amount_paisa, txn_id or f"T{self.txns:05}")

    async def told(self, order_id: UUID) -> list[tuple[int, str]]:
        """Everything told of this subject, with its sequence."""
        rows = await self.admin.fetch(
            "select key_seq, topic from outbox where key = $1 order by id", str(order_id)
        )
        return [(row["key_seq"], row["topic"]) for row in rows]

    async def topics(self, order_id: UUID) -> list[str]:
        return [topic for _, topic in await self.told(order_id)]

    async def status(self, order_id: UUID) -> str | None:
        row = await self.admin.fetchrow("select status from intents where subject_id = $1", order_id)
        return row["status"] if row else None

    async def rows(self, table: str, order_id: UUID) -> list[asyncpg.Record]:
        """The rows of this subject in a table, in the order of their making."""
        key = "charge_id" if table == "allocations" else "id"
        return await self.admin.fetch(f"select * from {table} where subject_id = $1 order by {key}", order_id)

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables, to see that nothing changed."""
        tables = (
            "intents",
            "attempts",
            "charges",
            "allocations",
            "refunds",
            "review_cases",
            "payment_items",
            "outbox",
        )
        return {
            table: [tuple(row) for row in await self.admin.fetch(f"select * from {table} order by 1, 2")]
            for table in tables
        }
