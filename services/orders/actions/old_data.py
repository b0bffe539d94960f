"""Old data put right through the functions that new data goes through; and what was missed, told again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from contracts.event import Envelope
from services.chassis.db import Tx
from services.chassis.decisions import Changed, Decision, decide_each
from services.orders import domain
from services.orders.actions import items
from services.orders.actions.telling import settle_checkouts, settle_orders
from services.orders.domain import Order, OrderStatus, RollUp, TellAgain
from services.orders.store import checkouts as checkout_store
from services.orders.store import old_data
from services.orders.store import orders as order_store


@dataclass(frozen=True, slots=True)
class OutOfStep:
    """An order whose status is not what its items say."""

    order_id: UUID
    status: OrderStatus
    should_be: OrderStatus


@dataclass(frozen=True, slots=True)
class Looked:
    """One page of orders: how many, which of them are wrong, how many were repaired, where to go on."""

    examined: int
    out_of_step: tuple[OutOfStep, ...]
    empty: tuple[UUID, ...]
    repaired: int
    next: UUID | None


async def look_through(tx: Tx, after: UUID, most: int, *, repair: bool, envelope: Envelope) -> Looked:
    """The next `most` orders after this id, each held against the roll-up function; wrong ones go through it.

    An order without items has no status to follow from: it is named and left as it is.
    """
    page = await old_data.page_of_orders(tx, after, most)
    wrong = [found for order in page if (found := _out_of_step(order)) is not None]
    repaired = 0
    if repair and wrong:
        causes = [RollUp(one.order_id, envelope) for one in wrong]
        repaired = len((await items.roll_up(tx, causes)).changed)
    return Looked(
        examined=len(page),
        out_of_step=tuple(wrong),
        empty=tuple(order.order_id for order in page if not order.items),
        repaired=repaired,
        next=page[-1].order_id if len(page) == most else None,
    )


def _out_of_step(order: Order) -> OutOfStep | None:
    outcome = domain.roll_up(order, RollUp(order.order_id))
    if not isinstance(outcome, Changed):
        return None
    return OutOfStep(order.order_id, order.status, outcome.state.status)


async def tell_again(tx: Tx, commands: Sequence[TellAgain]) -> dict[UUID, Decision[Any]]:
    """How these checkouts ended, once more; by id, what became of each."""
    ids = [one.key for one in commands]
    ended = await checkout_store.lock_checkouts(tx, ids)
    orders = await order_store.lock_orders(tx, ids)
    ordered = [one for one in commands if one.key in orders]
    others = [one for one in commands if one.key not in orders]
    of_orders = decide_each(ordered, orders, domain.tell_order_again)
    of_checkouts = decide_each(others, ended, domain.tell_checkout_again)
    await settle_orders(tx, orders, of_orders)
    await settle_checkouts(tx, ended, of_checkouts)
    outcomes = (*of_orders.outcomes, *of_checkouts.outcomes)
    return {one.key: outcome for one, outcome in zip((*ordered, *others), outcomes, strict=True)}
