"""Door 1, events: held stock opens a payment, and orders answers what became of it."""

from collections.abc import Sequence

from contracts.inventory import StockReserved
from contracts.orders import ItemCancelled, ItemFulfilled, OrderCancelled, OrderFinalized
from services.chassis.consumer import Consumer
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.payments import actions, gateways
from services.payments.domain import Intent

consumer = Consumer("payments")


@consumer.on(StockReserved)
async def on_stock_reserved(tx: Tx, events: Sequence[StockReserved]) -> Verdicts[Intent]:
    return await actions.open_intents(tx, events, gateways.in_use())


@consumer.on(OrderFinalized)
async def on_order_finalized(tx: Tx, events: Sequence[OrderFinalized]) -> Verdicts[Intent]:
    return await actions.accept_orders(tx, events)


@consumer.on(OrderCancelled)
async def on_order_cancelled(tx: Tx, events: Sequence[OrderCancelled]) -> Verdicts[Intent]:
    return await actions.end_checkouts(tx, events)


@consumer.on(ItemCancelled)
async def on_item_cancelled(tx: Tx, events: Sequence[ItemCancelled]) -> Verdicts[Intent]:
    return await actions.cancel_items(tx, events)


@consumer.on(ItemFulfilled)
async def on_item_fulfilled(tx: Tx, events: Sequence[ItemFulfilled]) -> Verdicts[Intent]:
    return await actions.fulfil_items(tx, events)
