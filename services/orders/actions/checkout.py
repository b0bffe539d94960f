"""Checkouts: placed by customers, answered by inventory, cancelled, and ended by the clock."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID

from contracts.inventory import StockRejected, StockReserved
from services.chassis import outbox
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts, decide_each
from services.chassis.ids import new_id
from services.orders import domain, numbers
from services.orders.actions.telling import settle_checkouts
from services.orders.domain import CancelCheckout, Checkout, Line, PlaceCheckout, Stage, Step, TimeIsUp
from services.orders.store import carts
from services.orders.store import checkouts as store
from services.orders.store.carts import CartLine

SECOND_HOLD: Final = (Stage.PROCESSING.value,)


async def place_checkouts(tx: Tx, commands: Sequence[PlaceCheckout]) -> Verdicts[Checkout]:
    """What is in the carts becomes checkouts; of two for one cart, the first gets everything.

    No snapshot yet: `order.placed` says it all, and milliseconds later there is more to say.
    """
    rows = await carts.lock_carts(tx, {one.customer_id for one in commands})
    filled = _fill(commands, rows)
    verdicts: Verdicts[Checkout] = decide_each(filled, {}, domain.place)
    if not verdicts.changed:
        return verdicts
    buyers = {one.customer_id for one in verdicts.changed.values()}
    taken = [(row.user_id, row.sku, row.returned_from) for row in rows if row.user_id in buyers]
    steps = [one for one in verdicts.done if isinstance(one, Step)]
    by_id = {one.order_id: one for one in commands}
    await store.insert_checkouts(tx, verdicts.changed, by_id, steps, taken)
    await outbox.tell(tx, verdicts.told)
    tx.counted.append(partial(numbers.count_steps, steps))
    return verdicts


def _fill(commands: Sequence[PlaceCheckout], rows: Sequence[CartLine]) -> list[PlaceCheckout]:
    """Each command with its customer's cart, summed by SKU; a later one of the same cart gets nothing."""
    sums: dict[UUID, dict[str, int]] = {}
    for row in rows:
        mine = sums.setdefault(row.user_id, {})
        mine[row.sku] = mine.get(row.sku, 0) + row.quantity
    return [replace(one, lines=_lines(sums.pop(one.customer_id, {}))) for one in commands]


def _lines(quantities: Mapping[str, int]) -> tuple[Line, ...]:
    return tuple(Line(new_id(), sku, quantity) for sku, quantity in quantities.items())


async def accept_reservations(tx: Tx, events: Sequence[StockReserved]) -> Verdicts[Checkout]:
    """Stock is held: wait for the payment, or make the order when the money was quicker."""
    # A number is drawn only where an order may come of it: for a second hold, or when the money was quicker.
    before = await store.lock_checkouts_numbered(tx, [one.key for one in events], SECOND_HOLD)
    verdicts = decide_each(events, before, partial(domain.accept_reservation, now=await tx.now()))
    return await settle_checkouts(tx, before, verdicts)


async def accept_rejections(tx: Tx, events: Sequence[StockRejected]) -> Verdicts[Checkout]:
    """Stock is not there: nothing is held, the lines are back in the cart."""
    before = await store.lock_checkouts(tx, [one.key for one in events])
    verdicts = decide_each(events, before, partial(domain.accept_rejection, now=await tx.now()))
    return await settle_checkouts(tx, before, verdicts)


async def cancel(tx: Tx, commands: Sequence[CancelCheckout]) -> Verdicts[Checkout]:
    """Customers give up their checkouts."""
    before = await store.lock_checkouts(tx, [one.key for one in commands])
    verdicts = decide_each(commands, before, partial(domain.cancel, now=await tx.now()))
    return await settle_checkouts(tx, before, verdicts)


async def expire(tx: Tx, due: Mapping[UUID, Checkout]) -> Verdicts[Checkout]:
    """The time limit of the stage has passed for these locked checkouts."""
    verdicts = decide_each(
        [TimeIsUp(key) for key in due], due, partial(domain.time_is_up, now=await tx.now())
    )
    return await settle_checkouts(tx, due, verdicts)
