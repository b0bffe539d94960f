"""Door 1: the events orders hears, each handed to its action."""

from collections.abc import Sequence

from contracts.inventory import StockRejected, StockReserved
from contracts.orders import ItemCancelled, ItemFulfilled, ItemShipped
from contracts.payments import (
    PaymentDeclined,
    PaymentFailed,
    PaymentHeld,
    PaymentOpened,
    PaymentRefunded,
    PaymentReturned,
    PaymentVerified,
)
from services.chassis.consumer import Consumer
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.orders.actions import checkout, items, payments
from services.orders.domain import Checkout, Order

consumer = Consumer("orders")


@consumer.on(StockReserved)
async def on_stock_reserved(tx: Tx, events: Sequence[StockReserved]) -> Verdicts[Checkout]:
    return await checkout.accept_reservations(tx, events)


@consumer.on(StockRejected)
async def on_stock_rejected(tx: Tx, events: Sequence[StockRejected]) -> Verdicts[Checkout]:
    return await checkout.accept_rejections(tx, events)


@consumer.on(PaymentOpened)
async def on_payment_opened(tx: Tx, events: Sequence[PaymentOpened]) -> Verdicts[Checkout]:
    return await payments.hear_hints(tx, events)


@consumer.on(PaymentReturned)
async def on_payment_returned(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Checkout]:
    return await payments.hear_hints(tx, events)


@consumer.on(PaymentDeclined)
async def on_payment_declined(tx: Tx, events: Sequence[PaymentDeclined]) -> Verdicts[Checkout]:
    return await payments.hear_hints(tx, events)


@consumer.on(PaymentFailed)
async def on_payment_failed(tx: Tx, events: Sequence[PaymentFailed]) -> Verdicts[Checkout]:
    return await payments.hear_hints(tx, events)


@consumer.on(PaymentVerified)
async def on_payment_verified(tx: Tx, events: Sequence[PaymentVerified]) -> Verdicts[Checkout]:
    return await payments.accept_payments(tx, events)


@consumer.on(PaymentHeld)
async def on_payment_held(tx: Tx, events: Sequence[PaymentHeld]) -> Verdicts[Checkout]:
    return await payments.hold_payments(tx, events)


@consumer.on(PaymentRefunded)
async def on_payment_refunded(tx: Tx, events: Sequence[PaymentRefunded]) -> Verdicts[Checkout]:
    return await payments.accept_refunds(tx, events)


@consumer.on(ItemShipped)
async def on_item_shipped(tx: Tx, events: Sequence[ItemShipped]) -> Verdicts[Order]:
    return await items.roll_up(tx, events)


@consumer.on(ItemFulfilled)
async def on_item_fulfilled(tx: Tx, events: Sequence[ItemFulfilled]) -> Verdicts[Order]:
    return await items.roll_up(tx, events)


@consumer.on(ItemCancelled)
async def on_item_cancelled(tx: Tx, events: Sequence[ItemCancelled]) -> Verdicts[Order]:
    return await items.roll_up(tx, events)
