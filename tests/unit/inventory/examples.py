"""Values for inventory's tests; each test says only what matters to it."""

from typing import Any
from uuid import UUID, uuid4

import orjson

from contracts.orders import (
    FinalizedItem,
    ItemCancelled,
    ItemShipped,
    OrderCancelled,
    OrderExpired,
    OrderFinalized,
    OrderPlaced,
    OrderRevived,
    WantedLine,
)
from services.inventory.domain import Offer, Shelf

VENDOR = UUID(int=1)
OTHER_VENDOR = UUID(int=2)
CUSTOMER = UUID(int=3)
NOON = "2026-01-01T12:00:00Z"


def wanted_lines(**quantities: int) -> tuple[WantedLine, ...]:
    return tuple(WantedLine(sku=sku, quantity=quantity) for sku, quantity in quantities.items())


def placed(order_id: UUID | None = None, *lines: WantedLine, **quantities: int) -> OrderPlaced:
    return OrderPlaced(
        order_id=order_id or uuid4(),
        customer_id=CUSTOMER,
        method="esewa",
        pay_within_s=900,
        lines=lines or wanted_lines(**(quantities or {"a": 1})),
    )


def revived(order_id: UUID, hold_no: int = 2, **quantities: int) -> OrderRevived:
    return OrderRevived(
        order_id=order_id,
        customer_id=CUSTOMER,
        method="esewa",
        hold_no=hold_no,
        pay_within_s=900,
        lines=wanted_lines(**(quantities or {"a": 1})),
    )


def expired(order_id: UUID, hold_no: int = 1) -> OrderExpired:
    return OrderExpired(order_id=order_id, hold_no=hold_no, reason="unpaid")


def cancelled(order_id: UUID, *, finalized: bool = False) -> OrderCancelled:
    return OrderCancelled(order_id=order_id, finalized=finalized, reason="customer")


def finalized(order_id: UUID, hold_no: int = 1, **quantities: int) -> OrderFinalized:
    return OrderFinalized.model_validate_json(
        _json(
            order_id=order_id,
            order_number="ORD-2026-1",
            customer_id=CUSTOMER,
            hold_no=hold_no,
            method="esewa",
            total_paisa=100,
            finalized_at=NOON,
            items=[
                FinalizedItem(
                    id=uuid4(), sku=sku, quantity=quantity, vendor_id=VENDOR, net_paisa=100, delivery_paisa=0
                ).model_dump(mode="json")
                for sku, quantity in quantities.items()
            ],
        )
    )


def shipped(order_id: UUID, sku: str = "a", quantity: int = 1) -> ItemShipped:
    return ItemShipped.model_validate_json(_json(**_step(order_id, uuid4(), sku, quantity), shipped_at=NOON))


def item_cancelled(
    order_id: UUID, item_id: UUID | None = None, sku: str = "a", quantity: int = 1, *, restock: bool = True
) -> ItemCancelled:
    return ItemCancelled(
        **_step(order_id, item_id or uuid4(), sku, quantity),
        restock=restock,
        refund_paisa=100,
        cancelled_by="vendor",
        reason="torn",
    )


def an_offer(sku: str = "a") -> Offer:
    return Offer(
        sku=sku,
        price_paisa=1000,
        vendor_id=VENDOR,
        delivery_paisa=150,
        slug=f"slug-{sku}",
        title=f"Title {sku}",
    )


def a_shelf(*offers: Offer, **free: int) -> Shelf:
    """Ordinary offers with so many free units each, and special ones with plenty."""
    known = {sku: an_offer(sku) for sku in free} | {offer.sku: offer for offer in offers}
    return Shelf(known, dict.fromkeys(known, 100) | free)


def _step(order_id: UUID, item_id: UUID, sku: str, quantity: int) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "item_id": item_id,
        "sku": sku,
        "quantity": quantity,
        "vendor_id": VENDOR,
        "method": "esewa",
        "net_paisa": 100,
    }


def _json(**fields: object) -> bytes:
    return orjson.dumps(fields)
