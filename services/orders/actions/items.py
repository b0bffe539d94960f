"""Items and the order's status: vendors move items, the status follows by itself."""

from collections.abc import Sequence
from functools import partial

from contracts.orders import ItemStep
from services.chassis.db import Tx
from services.chassis.decisions import Unchanged, Verdicts, decide_each
from services.orders import domain
from services.orders.actions.telling import settle_orders
from services.orders.domain import MoveItem, Order, RollUp
from services.orders.store import old_data
from services.orders.store import orders as store


async def move_items(tx: Tx, commands: Sequence[MoveItem]) -> Verdicts[Order]:
    """One item each takes one step; the orders' statuses follow through the events told here."""
    before = await store.lock_orders(tx, [one.key for one in commands])
    verdicts = decide_each(commands, before, partial(domain.move_item, now=await tx.now()))
    return await settle_orders(tx, before, verdicts)


async def roll_up(tx: Tx, causes: Sequence[ItemStep | RollUp]) -> Verdicts[Order]:
    """The statuses of these orders become what their items say, under the lock of the order row.

    While the roll-up is paused nothing is done: what was missed is found in the tables once it goes on.
    """
    if await old_data.is_rollup_paused(tx):
        return Verdicts(tuple(Unchanged() for _ in causes))
    before = await store.lock_orders(tx, [one.key for one in causes])
    return await settle_orders(tx, before, decide_each(causes, before, domain.roll_up))
