"""Door 1, events: what orders says about holds and items."""

from collections.abc import Sequence

from contracts.orders import (
    ItemCancelled,
    ItemFulfilled,
    ItemShipped,
    OrderCancelled,
    OrderExpired,
    OrderFinalized,
    OrderPlaced,
    OrderRevived,
)
from services.chassis.consumer import Consumer
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.inventory.actions import holds
from services.inventory.domain import Order

consumer = Consumer("inventory")


@consumer.on(OrderPlaced)
async def on_order_placed(tx: Tx, events: Sequence[OrderPlaced]) -> Verdicts[Order]:
    return await holds.reserve_stock(tx, events)


@consumer.on(OrderRevived)
async def on_order_revived(tx: Tx, events: Sequence[OrderRevived]) -> Verdicts[Order]:
    return await holds.reserve_stock(tx, events)


@consumer.on(OrderExpired)
async def on_order_expired(tx: Tx, events: Sequence[OrderExpired]) -> Verdicts[Order]:
    return await holds.end_holds(tx, events)


@consumer.on(OrderCancelled)
async def on_order_cancelled(tx: Tx, events: Sequence[OrderCancelled]) -> Verdicts[Order]:
    return await holds.end_holds(tx, events)


@consumer.on(OrderFinalized)
async def on_order_finalized(tx: Tx, events: Sequence[OrderFinalized]) -> Verdicts[Order]:
    return await holds.sell_holds(tx, events)


@consumer.on(ItemShipped)
async def on_item_shipped(tx: Tx, events: Sequence[ItemShipped]) -> Verdicts[Order]:
    return await holds.sell_holds(tx, events)


@consumer.on(ItemFulfilled)
async def on_item_fulfilled(tx: Tx, events: Sequence[ItemFulfilled]) -> Verdicts[Order]:
    return await holds.sell_holds(tx, events)


@consumer.on(ItemCancelled)
async def on_item_cancelled(tx: Tx, events: Sequence[ItemCancelled]) -> Verdicts[Order]:
    return await holds.return_items(tx, events)
