"""What inventory tells: the answer to a wanted hold, and units that are on sale again."""

from typing import ClassVar, Literal, TypeAlias
from uuid import UUID

from contracts.event import Body, Event, Method, Paisa, Quantity, Sku
from contracts.orders import WantedLine

RefusalCode: TypeAlias = Literal["OUT_OF_STOCK", "PRODUCT_UNAVAILABLE", "VENDOR_NOT_FOUND"]


class HeldLine(Body):
    """One held line at its frozen unit price."""

    sku: Sku
    quantity: Quantity
    price_paisa: Paisa
    vendor_id: UUID
    slug: str
    title: str


class Delivery(Body):
    """What one vendor charges for delivering its part of the order."""

    vendor_id: UUID
    delivery_paisa: Paisa


class StockReserved(Event):
    """Every line is held; the price is summed and frozen here, once."""

    TOPIC: ClassVar = "stock.reserved"

    order_id: UUID
    customer_id: UUID
    method: Method
    hold_no: int
    pay_within_s: int
    lines: tuple[HeldLine, ...]
    deliveries: tuple[Delivery, ...]
    total_paisa: Paisa
    currency: Literal["NPR"] = "NPR"


class RefusedLine(Body):
    """Why one line could not be held."""

    sku: Sku
    code: RefusalCode


class StockRejected(Event):
    """Nothing is held; a reason per line that stood in the way."""

    TOPIC: ClassVar = "stock.rejected"

    order_id: UUID
    hold_no: int
    lines: tuple[RefusedLine, ...]


class StockReleased(Event):
    """A hold ended without a sale: its units are on sale again."""

    TOPIC: ClassVar = "stock.released"

    order_id: UUID
    hold_no: int
    lines: tuple[WantedLine, ...]
