"""Hearing orders: the answer to a payment, the end of a checkout, the steps of its items."""

from collections.abc import Sequence

from contracts.orders import ItemCancelled, ItemFulfilled, OrderCancelled, OrderFinalized
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.payments import domain
from services.payments.actions.story import move, move_locked
from services.payments.store import intents


async def accept_orders(tx: Tx, orders: Sequence[OrderFinalized]) -> Verdicts[domain.Intent]:
    """Paid money has its order, and the order its items."""
    known = await intents.lock_intents_without_money(tx, [order.key for order in orders])
    return await move_locked(tx, known, orders, domain.accept_order)


async def end_checkouts(tx: Tx, orders: Sequence[OrderCancelled]) -> Verdicts[domain.Intent]:
    """A checkout that ended before its order gives all its money back, present and future."""
    return await move(tx, orders, domain.end_checkout)


async def cancel_items(tx: Tx, items: Sequence[ItemCancelled]) -> Verdicts[domain.Intent]:
    """Items that will not come are given back to their buyers."""
    return await move(tx, items, domain.cancel_item)


async def fulfil_items(tx: Tx, items: Sequence[ItemFulfilled]) -> Verdicts[domain.Intent]:
    """Items that have come are written down."""
    return await move(tx, items, domain.fulfil_item)
