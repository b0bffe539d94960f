"""A desk to drive payments from: events in, answers of a gateway in, and everything that came of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from contracts.inventory import StockReserved
from contracts.orders import FinalizedItem, ItemCancelled, ItemFulfilled, OrderCancelled, OrderFinalized
from services.chassis.db import Database
from services.chassis.decisions import Verdicts
from services.chassis.ids import new_id
from services.payments import actions, domain, gateways
from services.payments.actions.settling import seen
from services.payments.actions.windows import returned
from services.payments.gateways import Gateways
from services.payments.providers import Answer, Asked, FormPost, Hint
from services.payments.store import attempts as attempts_store
from services.payments.verdicts import Paid, Verdict
from tests.fakes.esewa import Simulator

TOTAL = 349_00
ADMIN = UUID(int=99)
TABLES = (
    "intents",
    "attempts",
    "charges",
    "allocations",
    "refunds",
    "review_cases",
    "payment_items",
    "outbox",
)
FINALIZED_AT = datetime(2026, 11, 21, 6, tzinfo=UTC)


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


def finalized(order_id: UUID, nets: Sequence[int] = (300_00,), delivery: int = 49_00) -> OrderFinalized:
    """The order exists, with items of these nets; the first carries the delivery charge."""
    items = [
        FinalizedItem(
            id=new_id(),
            sku=f"S{place}",
            quantity=1,
            vendor_id=new_id(),
            net_paisa=net,
            delivery_paisa=0 if place else delivery,
        )
        for place, net in enumerate(nets)
    ]
    return OrderFinalized(
        order_id=order_id,
        order_number="ORD-1",
        customer_id=new_id(),
        hold_no=1,
        method="esewa",
        total_paisa=TOTAL,
        items=tuple(items),
        finalized_at=FINALIZED_AT,
    )


def item_cancelled(order: OrderFinalized, place: int = 0, refund_paisa: int | None = None) -> ItemCancelled:
    item = order.items[place]
    return ItemCancelled(
        order_id=order.order_id,
        item_id=item.id,
        sku=item.sku,
        quantity=item.quantity,
        vendor_id=item.vendor_id,
        method="esewa",
        net_paisa=item.net_paisa,
        restock=True,
        refund_paisa=item.net_paisa if refund_paisa is None else refund_paisa,
        cancelled_by="customer",
        reason="changed my mind",
    )


def item_fulfilled(order: OrderFinalized, place: int = 0) -> ItemFulfilled:
    item = order.items[place]
    return ItemFulfilled(
        order_id=order.order_id,
        item_id=item.id,
        sku=item.sku,
        quantity=item.quantity,
        vendor_id=item.vendor_id,
        method="esewa",
        net_paisa=item.net_paisa,
        delivered_at=order.finalized_at,
    )


def cancelled(order_id: UUID, *, finalized: bool = False) -> OrderCancelled:
    return OrderCancelled(order_id=order_id, finalized=finalized, reason="customer")


@dataclass
class Desk:
    """Payments without its process."""

    db: Database
    admin: asyncpg.Connection
    gateways: Gateways
    simulator: Simulator
    txns: int = field(default=0)

    def use(self, **changes: object) -> None:
        """Other settings from now on."""
        self.gateways = gateways.use(self.gateways.settings.model_copy(update=changes))

    # -- what happens

    async def open(self, *events: StockReserved) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.open_intents(tx, events, self.gateways)

    async def opened(self, **changes: object) -> UUID:
        """A fresh intent with one attempt."""
        event = reserved(new_id(), **changes)
        await self.open(event)
        return event.order_id

    async def another(self, order_id: UUID) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.open_another(tx, order_id, "esewa", self.gateways)

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

    async def finalize(self, *orders: OrderFinalized) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.accept_orders(tx, orders)

    async def cancel(self, *orders: OrderCancelled) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.end_checkouts(tx, orders)

    async def cancel_items(self, *items: ItemCancelled) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.cancel_items(tx, items)

    async def fulfil_items(self, *items: ItemFulfilled) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.fulfil_items(tx, items)

    async def come_back(self, order_id: UUID, *, attempt: int = 0) -> Verdicts[Any]:
        row = (await self.attempts(order_id))[attempt]
        back = returned(order_id, row["id"], Hint(evidence_ok=False, body="", detail="no data"), None)
        async with self.db.transaction() as tx:
            return await actions.hear_returns(tx, [back], self.gateways.plan)

    async def refund_done(self, order_id: UUID, refund_id: UUID, evidence: str = "PORTAL-1") -> Verdicts[Any]:
        done = domain.RefundDone(order_id, refund_id, evidence, "", ADMIN)
        async with self.db.transaction() as tx:
            return await actions.complete_refunds(tx, [done])

    async def form(self, order_id: UUID, attempt: int = -1) -> FormPost:
        """What the payer's browser gets."""
        row = (await self.attempts(order_id))[attempt]
        asked = Asked(row["reference"], row["merchant_code"], row["amount_paisa"])
        return self.gateways.adapters["esewa"].open(asked)

    async def pay(self, order_id: UUID, attempt: int = -1) -> None:
        """The payer pays at the gateway and closes the tab."""
        form = await self.form(order_id, attempt)
        await self.simulator.pay(form.url, form.fields, follow_return=False)

    async def make_due(self, order_id: UUID) -> None:
        await self.admin.execute("update attempts set next_check_at = now() where subject_id = $1", order_id)

    async def end_window(self, order_id: UUID) -> None:
        """The clock has moved past the last lookups of this intent."""
        await self.admin.execute(
            "update intents set pay_by = now() - interval '1 s', close_at = now() where subject_id = $1",
            order_id,
        )

    async def claim(self, limit: int = 200, lease_s: float = 30) -> list[attempts_store.Question]:
        async with self.db.transaction() as tx:
            return await attempts_store.claim_due(tx, "esewa", limit=limit, lease_s=lease_s)

    async def unanswered(self, order_id: UUID) -> Verdicts[Any]:
        async with self.db.transaction() as tx:
            return await actions.report_unanswered(tx, [order_id])

    async def settle_all(self, order_ids: Sequence[UUID]) -> Verdicts[Any]:
        """The gateway says of the first attempt of each that it is paid, all in one batch."""
        rows = await self.admin.fetch(
            "select id, subject_id from attempts where subject_id = any($1)", order_ids
        )
        said = [
            seen(row["subject_id"], row["id"], "esewa", Answer(self.paid(), 200, "{}", b"{}")) for row in rows
        ]
        async with self.db.transaction() as tx:
            return await actions.settle(tx, said, self.gateways.plan)

    async def counting(self, act: Callable[[], Awaitable[object]]) -> int:
        """How many statements this takes, `begin` and `commit` aside."""
        shared, self.db = self.db, Database(self.db.dsn, name="counted", size=1)
        statements: list[str] = []
        pool = await self.db.pool()
        async with pool.acquire() as connection:
            connection.add_query_logger(lambda record: statements.append(record.query))
        try:
            await act()
        finally:
            await self.db.close()
            self.db = shared
        assert statements, "nothing was counted"
        ours = [one for one in statements if one.strip() not in {"BEGIN;", "COMMIT;"}]
        # A fresh connection also asks about types; a used one does not.
        return len([one for one in ours if "typeinfo_tree" not in one and "set_config" not in one])

    # -- what came of it

    async def attempts(self, order_id: UUID) -> list[asyncpg.Record]:
        async with self.db.transaction() as tx:
            return await tx.fetch("select * from attempts where subject_id = $1 order by id", order_id)

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

    async def kinds(self, order_id: UUID) -> list[str]:
        return [row["kind"] for row in await self.rows("allocations", order_id)]

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables, to see that nothing changed."""
        return {
            table: [tuple(row) for row in await self.admin.fetch(f"select * from {table} order by 1, 2")]
            for table in TABLES
        }
