"""How the actions on checkouts end: save what changed with everything it brings about, and tell it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol, TypeVar
from uuid import UUID

from contracts.orders import OrderState
from services.chassis import outbox
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.orders import numbers
from services.orders.domain import (
    BlockShipping,
    Checkout,
    CreateOrder,
    ItemMove,
    Order,
    OrderStep,
    ReturnLines,
    Step,
    TakeReturned,
)
from services.orders.domain import checkout as checkouts
from services.orders.domain import order as orders
from services.orders.store import carts
from services.orders.store import checkouts as checkout_store
from services.orders.store import orders as order_store


class Versioned(Protocol):
    """What a snapshot is told of."""

    @property
    def version(self) -> int: ...

    @property
    def seq(self) -> int: ...


S = TypeVar("S", bound=Versioned)
NOBODY: Final[Mapping[UUID, datetime]] = MappingProxyType({})


def with_snapshots(
    verdicts: Verdicts[S], before: Mapping[UUID, S], snapshot: Callable[[S], OrderState]
) -> Verdicts[S]:
    """One `order.state` for each aggregate whose public version moved; bookkeeping alone is nobody's news."""
    moved = {
        key: state
        for key, state in verdicts.changed.items()
        if key not in before or before[key].version != state.version
    }
    told = replace(verdicts, changed=moved).with_snapshots(snapshot)
    return replace(told, changed={**verdicts.changed, **told.changed})


async def settle_checkouts(
    tx: Tx,
    before: Mapping[UUID, Checkout],
    verdicts: Verdicts[Checkout],
    *,
    paid_at: Mapping[UUID, datetime] = NOBODY,
) -> Verdicts[Checkout]:
    """Save the checkouts, then (lock order) orders, then carts; tell what happened.

    `paid_at`: when payments proved the money that is heard of here, by checkout.

    What concerns a customer's account for cash on delivery (ReleaseCod, OrderFinal) has no table yet.
    """
    if not verdicts.changed:
        return verdicts
    verdicts = with_snapshots(verdicts, before, partial(checkouts.snapshot, now=await tx.now()))
    do = verdicts.done
    await checkout_store.save_checkouts(
        tx, before, verdicts.changed, [one for one in do if isinstance(one, Step)]
    )
    await order_store.insert_orders(tx, [one for one in do if isinstance(one, CreateOrder)], verdicts.changed)
    await order_store.block_shipping(tx, [one for one in do if isinstance(one, BlockShipping)])
    await carts.take_returned(tx, [one for one in do if isinstance(one, TakeReturned)])
    await carts.return_lines(tx, [one for one in do if isinstance(one, ReturnLines)])
    await outbox.tell(tx, verdicts.told)
    tx.counted.append(partial(numbers.count_checkouts, do, verdicts.changed, paid_at, await tx.now()))
    return verdicts


async def settle_orders(tx: Tx, before: Mapping[UUID, Order], verdicts: Verdicts[Order]) -> Verdicts[Order]:
    """Save orders and items with their histories; tell what happened."""
    if not verdicts.changed:
        return verdicts
    verdicts = with_snapshots(verdicts, before, partial(orders.snapshot, now=await tx.now()))
    do = verdicts.done
    moves = [one for one in do if isinstance(one, ItemMove)]
    steps = [one for one in do if isinstance(one, OrderStep)]
    await order_store.save_orders(tx, verdicts.changed, moves, steps)
    await outbox.tell(tx, verdicts.told)
    tx.counted.append(partial(numbers.count_orders, steps))
    return verdicts
