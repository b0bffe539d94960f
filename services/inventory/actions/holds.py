"""Holds: stock is promised, given back, sold and returned, as orders says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from contracts.orders import ItemCancelled, OrderCancelled
from services.chassis import outbox
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts, decide_each
from services.inventory import domain
from services.inventory.domain import Ended, Order, Sold, Wanted
from services.inventory.store import holds, stock


async def reserve_stock(tx: Tx, wanted: Sequence[Wanted]) -> Verdicts[Order]:
    """Hold every line of each order or none, in the order they came: who comes first is served first."""
    orders = await holds.open_orders(tx, (one.order_id for one in wanted))
    shelf = await stock.lock_shelf(tx, (line.sku for one in wanted for line in one.lines))
    verdicts = decide_each(wanted, orders, domain.in_turn(shelf, domain.reserve))
    return await _save_and_tell(tx, orders, verdicts)


async def end_holds(tx: Tx, ended: Sequence[Ended]) -> Verdicts[Order]:
    """What is held goes back on sale; the end of a hold that is still to come is remembered."""
    orders = await holds.open_orders(tx, (one.order_id for one in ended))
    return await _save_and_tell(tx, orders, decide_each(ended, orders, domain.end))


async def sell_holds(tx: Tx, sold: Sequence[Sold | OrderCancelled]) -> Verdicts[Order]:
    """Holds become sales: on hand and reserved both fall."""
    orders = await holds.lock_orders(tx, (one.order_id for one in sold))
    return await _save_and_tell(tx, orders, decide_each(sold, orders, domain.sell))


async def return_items(tx: Tx, cancelled: Sequence[ItemCancelled]) -> Verdicts[Order]:
    """Units of cancelled items come back, once per item, where the event says so."""
    orders = await holds.lock_orders(tx, (one.order_id for one in cancelled))
    returned = await holds.returned_items(tx, [one.item_id for one in cancelled])
    orders |= {key: replace(orders[key], returned=items) for key, items in returned.items() if key in orders}
    return await _save_and_tell(tx, orders, decide_each(cancelled, orders, domain.return_item))


async def _save_and_tell(tx: Tx, before: Mapping[UUID, Order], verdicts: Verdicts[Order]) -> Verdicts[Order]:
    await holds.save_orders(tx, before, verdicts.changed)
    await stock.move_stock(tx, verdicts.done)
    await outbox.tell(tx, verdicts.told)
    return verdicts
