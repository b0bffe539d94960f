"""The order and its items as values: who may move an item where, and what the order's status follows from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from contracts.event import Envelope, Method
from contracts.orders import (
    ItemCancelled,
    ItemFulfilled,
    ItemShipped,
    ItemState,
    ItemStep,
    OrderCancelled,
    OrderDelivered,
    OrderState,
)
from services.chassis.decisions import Changed, Decision, Never, Refused, Unchanged, altered
from services.orders.domain.actor import Actor, ActorType


class ItemStatus(StrEnum):
    """How far one item is on its way from vendor to customer."""

    PENDING = "pending"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class OrderStatus(StrEnum):
    """What the statuses of an order's items amount to."""

    CONFIRMED = "confirmed"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


REFUSED_AT_DOOR: Final = "refused_at_door"
NEXT: Final[dict[ItemStatus, dict[ItemStatus, frozenset[ActorType]]]] = {
    ItemStatus.PENDING: {
        ItemStatus.PROCESSING: frozenset({"vendor", "admin"}),
        ItemStatus.CANCELLED: frozenset({"vendor", "admin", "customer"}),
    },
    ItemStatus.PROCESSING: {
        ItemStatus.SHIPPED: frozenset({"vendor", "admin"}),
        ItemStatus.CANCELLED: frozenset({"vendor", "admin"}),
    },
    ItemStatus.SHIPPED: {
        ItemStatus.DELIVERED: frozenset({"vendor", "admin"}),
        ItemStatus.CANCELLED: frozenset({"vendor", "admin"}),  # a vendor only when refused at the door
    },
    ItemStatus.DELIVERED: {},
    ItemStatus.CANCELLED: {},
}
"""From each status: where an item may go, and who may send it there. The last two are final."""
FINAL: Final = frozenset(status for status, following in NEXT.items() if not following)


@dataclass(frozen=True)
class Item:
    """One item of an order; `delivery_paisa` is its share of its vendor's delivery charge."""

    id: UUID
    line: int
    sku: str
    quantity: int
    price_paisa: int
    vendor_id: UUID
    slug: str
    title: str
    delivery_paisa: int
    status: ItemStatus = ItemStatus.PENDING
    delivered_at: datetime | None = None
    version: int = 1

    @property
    def net_paisa(self) -> int:
        """Price x quantity."""
        return self.price_paisa * self.quantity

    @property
    def refund_paisa(self) -> int:
        """What goes back when the item is cancelled: its net and its share of the delivery charge."""
        return self.net_paisa + self.delivery_paisa


@dataclass(frozen=True)
class Order:
    """An order with its items.

    `version` is the public snapshot's and rises with every change of order or item; `steps` counts the
    changes of `status`; `seq` goes on from the checkout's.
    """

    order_id: UUID
    customer_id: UUID
    order_number: str
    method: Method
    total_paisa: int
    hold_no: int
    created_at: datetime
    items: tuple[Item, ...]
    status: OrderStatus = OrderStatus.CONFIRMED
    delivered_at: datetime | None = None
    blocked: bool = False
    seq: int = 0
    version: int = 1
    steps: int = 1


class ItemMove(NamedTuple):
    """One row of an item's history: its change number `seq`."""

    item_id: UUID
    order_id: UUID
    seq: int
    old: ItemStatus
    new: ItemStatus
    delivered_at: datetime | None
    cause: Envelope
    actor: Actor
    reason: str


class OrderStep(NamedTuple):
    """One row of an order's history: the change number `seq` of its status."""

    order_id: UUID
    seq: int
    old: OrderStatus
    new: OrderStatus
    cause: Envelope
    reason: str


@dataclass(frozen=True, slots=True)
class OrderFinal:
    """No item of the order is open any more: what counted it as active counts it no longer."""

    order_id: UUID
    customer_id: UUID


@dataclass(frozen=True, slots=True)
class MoveItem:
    """Somebody moves one item on; `version` is the item's as they saw it, None when they need not say."""

    order_id: UUID
    item_id: UUID
    new_status: ItemStatus
    actor: Actor
    reason: str = ""
    version: int | None = None
    collected_paisa: int | None = None
    collector: str | None = None
    proof_ref: str | None = None
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.order_id


@dataclass(frozen=True, slots=True)
class RollUp:
    """The status of this order may be out of date (the reconciler's word for an item event)."""

    order_id: UUID
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.order_id


# ----- items


def move_item(order: Order | None, command: MoveItem, *, now: datetime) -> Decision[Order]:
    """One item takes one step, if it is allowed, and the step is told."""
    item = _item_of(order, command)
    if order is None or item is None:
        return Refused("NOT_FOUND", "There is no such item.")
    if problem := _objection(order, item, command):
        return problem
    delivered_at = now if command.new_status is ItemStatus.DELIVERED else None
    moved = altered(item, status=command.new_status, delivered_at=delivered_at, version=item.version + 1)
    step = ItemMove(
        item_id=item.id,
        order_id=order.order_id,
        seq=moved.version,
        old=item.status,
        new=moved.status,
        delivered_at=delivered_at,
        cause=command.envelope,
        actor=command.actor,
        reason=command.reason,
    )
    items = tuple(moved if one.id == item.id else one for one in order.items)
    return Changed(
        altered(order, items=items, version=order.version + 1), _told(order, item, command, now), (step,)
    )


def _item_of(order: Order | None, command: MoveItem) -> Item | None:
    """The item, if this actor may know of it: an admin any, a vendor and a customer their own."""
    item = next((one for one in order.items if one.id == command.item_id), None) if order else None
    if order is None or item is None:
        return None
    match command.actor.type:
        case "vendor":
            return item if item.vendor_id == command.actor.vendor_id else None
        case "customer":
            return item if order.customer_id == command.actor.id else None
        case _:
            return item


def _objection(order: Order, item: Item, command: MoveItem) -> Refused | None:
    if command.version is not None and command.version != item.version:
        return Refused("STALE", f"The item is at version {item.version}.")
    new, actor = command.new_status, command.actor.type
    may = NEXT[item.status].get(new)
    at_the_door = (item.status, new) == (ItemStatus.SHIPPED, ItemStatus.CANCELLED)
    if may is None or (actor == "customer" and actor not in may):
        return Refused("INVALID_TRANSITION", f"An item cannot go from {item.status} to {new}.")
    if actor not in may:
        return Refused("FORBIDDEN", f"A {actor} may not move an item from {item.status} to {new}.")
    if at_the_door and actor != "admin" and command.reason != REFUSED_AT_DOOR:
        return Refused(
            "INVALID_TRANSITION", f"A shipped item is cancelled only when it was {REFUSED_AT_DOOR}."
        )
    if new is ItemStatus.SHIPPED and order.blocked:
        return Refused("ORDER_ON_HOLD", "The payment is under review: nothing may ship until that ends.")
    return _wrong_cash(order, command)


def _wrong_cash(order: Order, command: MoveItem) -> Refused | None:
    """Cash is recorded exactly when an item paid on delivery is delivered."""
    due = order.method == "cod" and command.new_status is ItemStatus.DELIVERED
    said = (command.collected_paisa, command.collector, command.proof_ref)
    if due and command.collected_paisa is None:
        return Refused("COLLECTION_REQUIRED", "Say how much cash was collected.")
    if not due and any(one is not None for one in said):
        return Refused("NOTHING_TO_COLLECT", "There is no cash to collect with this step.")
    return None


def _told(order: Order, item: Item, command: MoveItem, now: datetime) -> tuple[ItemStep, ...]:
    about = {
        "order_id": order.order_id,
        "item_id": item.id,
        "sku": item.sku,
        "quantity": item.quantity,
        "vendor_id": item.vendor_id,
        "method": order.method,
        "net_paisa": item.net_paisa,
    }
    match command.new_status:
        case ItemStatus.SHIPPED:
            return (ItemShipped.model_validate({**about, "shipped_at": now}),)
        case ItemStatus.DELIVERED:
            cash = {
                "collected_paisa": command.collected_paisa,
                "collector": command.collector,
                "proof_ref": command.proof_ref,
            }
            return (ItemFulfilled.model_validate({**about, **cash, "delivered_at": now}),)
        case ItemStatus.CANCELLED:
            how = {
                "restock": True,
                "refund_paisa": item.refund_paisa,
                "cancelled_by": command.actor.type,
                "reason": command.reason,
            }
            return (ItemCancelled.model_validate({**about, **how}),)
        case _:
            return ()


def allowed_actions(item: Item, actor: Actor, *, blocked: bool) -> tuple[ItemStatus, ...]:
    """Where this actor may send the item now, in the order of the table."""
    return tuple(
        new
        for new, may in NEXT[item.status].items()
        if actor.type in may and not (new is ItemStatus.SHIPPED and blocked)
    )


# ----- the order's status


def rollup(statuses: Iterable[ItemStatus]) -> OrderStatus:
    """The status of an order is this function of its items' statuses, and nothing else."""
    seen = frozenset(statuses)
    if not seen <= FINAL:
        return OrderStatus.CONFIRMED
    return OrderStatus.DELIVERED if ItemStatus.DELIVERED in seen else OrderStatus.CANCELLED


def roll_up(order: Order | None, cause: ItemStep | RollUp) -> Decision[Order]:
    """Bring the order's status in line with its items, and tell when it became final."""
    if order is None:
        return Never("an item event of an order that does not exist")
    if not order.items:
        return Never("an order without items has no status that could follow from them")
    status = rollup(item.status for item in order.items)
    delivered_at = max((item.delivered_at for item in order.items if item.delivered_at), default=None)
    delivered_at = delivered_at if status is OrderStatus.DELIVERED else None
    if (status, delivered_at) == (order.status, order.delivered_at):
        return Unchanged()
    reason = cause.TOPIC if isinstance(cause, ItemStep) else "repaired"
    seq = order.steps + 1
    step = OrderStep(order.order_id, seq, order.status, status, cause.envelope, reason)
    rolled = altered(order, status=status, delivered_at=delivered_at, version=order.version + 1, steps=seq)
    if status is OrderStatus.CONFIRMED:
        return Changed(rolled, (), (step,))
    return Changed(rolled, (_final(rolled),), (step, OrderFinal(order.order_id, order.customer_id)))


def _final(order: Order) -> OrderDelivered | OrderCancelled:
    if order.delivered_at is None:
        return OrderCancelled(order_id=order.order_id, finalized=True, reason="all_items_cancelled")
    return OrderDelivered(
        order_id=order.order_id, customer_id=order.customer_id, delivered_at=order.delivered_at
    )


def snapshot(order: Order, *, now: datetime) -> OrderState:
    """The public state of an order."""
    return OrderState(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=order.version,
        stage="confirmed",
        status=order.status.value,
        method=order.method,
        total_paisa=order.total_paisa,
        order_number=order.order_number,
        items=tuple(_state_of(item) for item in order.items),
        updated_at=now,
    )


def _state_of(item: Item) -> ItemState:
    return ItemState(
        id=item.id, sku=item.sku, vendor_id=item.vendor_id, quantity=item.quantity, status=item.status.value
    )


# ----- money


def shares(total_paisa: int, weights: Sequence[int]) -> list[int]:
    """Split an amount in proportion to the weights, by largest remainder; ties go to the earlier.

    Weights that are all zero count as equal. The parts always sum to `total_paisa`.
    """
    if not weights:
        return []
    even = weights if any(weights) else [1] * len(weights)
    whole = sum(even)
    parts = [total_paisa * weight // whole for weight in even]
    by_remainder = sorted(range(len(even)), key=lambda place: -(total_paisa * even[place] % whole))
    for place in by_remainder[: total_paisa - sum(parts)]:
        parts[place] += 1
    return parts
