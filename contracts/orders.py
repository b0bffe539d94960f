"""What orders tells: a checkout's way to an order, the order's items, and the public snapshot."""

from typing import Annotated, ClassVar, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from contracts.event import Body, Event, Method, Paisa, Quantity, Sku, Time

ItemStatus: TypeAlias = Literal["pending", "processing", "shipped", "delivered", "cancelled"]
OrderStatus: TypeAlias = Literal["confirmed", "delivered", "cancelled"]
CheckoutStage: TypeAlias = Literal[
    "reserving",
    "awaiting_phone",
    "awaiting_payment",
    "verifying",
    "processing",
    "confirmed",
    "rejected",
    "payment_failed",
    "expired",
    "cancelled",
    "on_hold",
    "refund_pending",
    "refunded",
]


class WantedLine(Body):
    """So many units of one SKU."""

    sku: Sku
    quantity: Quantity


class OrderPlaced(Event):
    """A customer checked out; inventory is asked to hold every line or none."""

    TOPIC: ClassVar = "order.placed"

    order_id: UUID
    customer_id: UUID
    method: Method
    hold_no: Literal[1] = 1
    pay_within_s: Annotated[int, Field(ge=1)]
    lines: tuple[WantedLine, ...]


class OrderExpired(Event):
    """Nobody paid in time: this hold ends. Money that still comes may revive the checkout."""

    TOPIC: ClassVar = "order.expired"

    order_id: UUID
    hold_no: int
    reason: Literal["unpaid", "payment_failed", "phone_unconfirmed", "held_too_long"]


class OrderRevived(Event):
    """Late money came: end hold `hold_no - 1` if it still lives, hold the lines again at the old price."""

    TOPIC: ClassVar = "order.revived"

    order_id: UUID
    customer_id: UUID
    method: Method
    hold_no: int
    pay_within_s: int
    lines: tuple[WantedLine, ...]


class FinalizedItem(Body):
    """One item of an order: what was bought, from whom, for how much (`net_paisa` = price x quantity)."""

    id: UUID
    sku: Sku
    quantity: Quantity
    vendor_id: UUID
    net_paisa: Paisa
    delivery_paisa: Paisa


class OrderFinalized(Event):
    """The order exists, with its items; the hold becomes a sale."""

    TOPIC: ClassVar = "order.finalized"

    order_id: UUID
    order_number: str
    customer_id: UUID
    hold_no: int
    method: Method
    total_paisa: Paisa
    currency: Literal["NPR"] = "NPR"
    items: tuple[FinalizedItem, ...]
    finalized_at: Time


class OrderCancelled(Event):
    """Final. `finalized` false: close every hold and refund every charge, also later ones; true: a fact."""

    TOPIC: ClassVar = "order.cancelled"

    order_id: UUID
    finalized: bool
    reason: str


class ItemStep(Event):
    """What the three item events share."""

    order_id: UUID
    item_id: UUID
    sku: Sku
    quantity: Quantity
    vendor_id: UUID
    method: Method
    net_paisa: Paisa


class ItemShipped(ItemStep):
    """The vendor handed one item to the courier."""

    TOPIC: ClassVar = "item.shipped"

    shipped_at: Time


class ItemFulfilled(ItemStep):
    """One item reached the customer; with cash on delivery, what was collected."""

    TOPIC: ClassVar = "item.fulfilled"

    delivered_at: Time
    collected_paisa: Paisa | None = None
    collector: str | None = None
    proof_ref: str | None = None


class ItemCancelled(ItemStep):
    """One item will not be delivered: restock it and refund its money; this event alone carries both."""

    TOPIC: ClassVar = "item.cancelled"

    restock: bool
    refund_paisa: Paisa
    cancelled_by: Literal["customer", "vendor", "admin", "system"]
    reason: str


class OrderDelivered(Event):
    """No item is open and at least one was delivered; `delivered_at` is the latest of them."""

    TOPIC: ClassVar = "order.delivered"

    order_id: UUID
    customer_id: UUID
    delivered_at: Time


class ItemState(Body):
    """One item in the public snapshot."""

    id: UUID
    sku: Sku
    vendor_id: UUID
    quantity: Quantity
    status: ItemStatus


class OrderState(Event):
    """The latest public snapshot of a checkout and its order; first told once stock has answered."""

    TOPIC: ClassVar = "order.state"

    order_id: UUID
    customer_id: UUID
    version: int
    stage: CheckoutStage
    status: OrderStatus | None = None
    method: Method
    total_paisa: Paisa | None = None
    currency: Literal["NPR"] = "NPR"
    order_number: str | None = None
    items: tuple[ItemState, ...] = ()
    updated_at: Time
