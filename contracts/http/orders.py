"""What orders answers and is asked: cart, checkout, order, the items of a vendor."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.event import Method
from contracts.http import Answer, Ask
from contracts.orders import CheckoutStage, ItemStatus, OrderStatus

Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
Phone = Annotated[str, Field(min_length=7, max_length=20, pattern=r"^\+?[0-9][0-9 -]*$")]


class PutCartItem(Ask):
    """`PUT /v1/cart/items/{sku}`: exactly so many, replacing what was there."""

    quantity: Annotated[int, Field(ge=1, le=50)]


class CartLine(Answer):
    sku: str
    quantity: int


class Cart(Answer):
    """The cart as orders knows it; the gateway adds prices and titles."""

    lines: list[CartLine]


class ShippingAddress(Ask):
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    phone: Phone
    email: Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    line1: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    line2: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    city: Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
    district: Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]


class NewCheckout(Ask):
    """`POST /v1/checkouts`: everything in the cart, paid this way, sent there."""

    payment_method: Method
    shipping_address: ShippingAddress


class CheckoutLine(Answer):
    """One line; title and price are known once stock is held."""

    sku: str
    quantity: int
    title: str | None = None
    vendor_id: UUID | None = None
    price_paisa: int | None = None


class LineRefusal(Answer):
    """Why one line could not be held."""

    sku: str
    code: str


class Checkout(Answer):
    """`GET /v1/checkouts/{id}`; its ETag is `version`."""

    id: UUID
    stage: CheckoutStage
    method: Method
    amount_paisa: int | None = None
    currency: Literal["NPR"] = "NPR"
    lines: list[CheckoutLine]
    refusals: list[LineRefusal] = Field(default_factory=list)
    order_id: UUID | None = None
    order_number: str | None = None
    version: int
    created_at: datetime
    updated_at: datetime


class OrderItem(Answer):
    id: UUID
    sku: str
    title: str
    vendor_id: UUID
    quantity: int
    price_paisa: int
    net_paisa: int
    delivery_paisa: int = 0
    status: ItemStatus
    version: int
    allowed_actions: list[str] = Field(default_factory=list)
    suggested_action: str | None = None


class Order(Answer):
    """`GET /v1/orders/{id}`; its ETag is `version`."""

    id: UUID
    order_number: str
    status: OrderStatus
    method: Method
    total_paisa: int
    currency: Literal["NPR"] = "NPR"
    items: list[OrderItem]
    review_eligible: bool = False
    delivered_at: datetime | None = None
    created_at: datetime
    version: int


class OrderSummary(Answer):
    """One row of `GET /v1/orders`: an order, or a checkout still being processed (without `status`)."""

    id: UUID
    stage: CheckoutStage
    status: OrderStatus | None = None
    order_number: str | None = None
    method: Method
    total_paisa: int | None = None
    currency: Literal["NPR"] = "NPR"
    created_at: datetime


class OrderPage(Answer):
    data: list[OrderSummary]
    next: str | None = None
    has_more: bool = False


class CancelItem(Ask):
    """`POST /v1/orders/{id}/items/{item_id}/cancel`."""

    reason: Reason


class VendorItem(OrderItem):
    """One item as its vendor sees it."""

    order_id: UUID
    order_number: str


class VendorItemPage(Answer):
    data: list[VendorItem]
    next: str | None = None
    has_more: bool = False


class ChangeItemStatus(Ask):
    """`POST /v1/vendor/items/{id}/status`."""

    new_status: Literal["processing", "shipped", "delivered", "cancelled"]
    reason: Reason | None = None
    collected_paisa: Annotated[int, Field(ge=0, le=10**15)] | None = None
    collector: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    proof_ref: Annotated[str, Field(min_length=1, max_length=200)] | None = None
