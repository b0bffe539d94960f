"""Values for tests of orders: each maker fills in what the test does not care about."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from contracts.event import Envelope
from contracts.inventory import Delivery, HeldLine, RefusedLine, StockRejected, StockReserved
from contracts.payments import (
    PaymentDeclined,
    PaymentFailed,
    PaymentHeld,
    PaymentOpened,
    PaymentRefunded,
    PaymentReturned,
    PaymentVerified,
)
from services.chassis.ids import new_id
from services.orders.domain import Checkout, Item, Line, Order

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
CUSTOMER = UUID("018f0000-0000-7000-8000-00000000c001")
SONA, RAJU = UUID("018f0000-0000-7000-8000-00000000a001"), UUID("018f0000-0000-7000-8000-00000000a002")
"""Two vendors."""


def an_envelope(sequence: int = 1) -> Envelope:
    return Envelope(id=new_id(), sequence=sequence)


def a_line(sku: str = "kurta-m", quantity: int = 2, price_paisa: int = 150_00, vendor: UUID = SONA) -> Line:
    return Line(new_id(), sku, quantity, price_paisa, vendor, sku.partition("-")[0], sku.title())


def a_checkout(**said: Any) -> Checkout:  # noqa: ANN401 - whatever the test wants to say
    """A checkout as inventory has priced it: two lines of two vendors, NPR 600 + 100 and NPR 50 delivery."""
    lines = (a_line(), a_line("topi-one", 1, 100_00, RAJU))
    known: dict[str, Any] = {
        "order_id": new_id(),
        "customer_id": CUSTOMER,
        "method": "esewa",
        "pay_within_s": 900,
        "lines": lines,
        "deliveries": ((SONA, 50_00),),
        "total_paisa": 450_00,
        "order_number": "ORD-2026-0000001",
        "held_at": NOW,
    }
    return Checkout(**known | said)


def reserved(checkout: Checkout, *, sequence: int = 1, **said: Any) -> StockReserved:  # noqa: ANN401
    """Inventory's answer for exactly this checkout."""
    known: dict[str, Any] = {
        "order_id": checkout.order_id,
        "customer_id": checkout.customer_id,
        "method": checkout.method,
        "hold_no": checkout.hold_no,
        "pay_within_s": checkout.pay_within_s,
        "lines": tuple(
            HeldLine(
                sku=line.sku,
                quantity=line.quantity,
                price_paisa=line.price_paisa or 100_00,
                vendor_id=line.vendor_id if line.slug else SONA,
                slug=line.slug or line.sku,
                title=line.title or line.sku,
            )
            for line in checkout.lines
        ),
        "deliveries": tuple(
            Delivery(vendor_id=vendor, delivery_paisa=paisa) for vendor, paisa in checkout.deliveries
        ),
    }
    known |= said
    total = sum(one.price_paisa * one.quantity for one in known["lines"])
    total += sum(one.delivery_paisa for one in known["deliveries"])
    known.setdefault("total_paisa", total)
    event = StockReserved(**known)
    event.within(an_envelope(sequence))
    return event


def rejected(checkout: Checkout, **said: Any) -> StockRejected:  # noqa: ANN401
    lines = tuple(RefusedLine(sku=line.sku, code="OUT_OF_STOCK") for line in checkout.lines)
    known = {"order_id": checkout.order_id, "hold_no": checkout.hold_no, "lines": lines}
    event = StockRejected(**known | said)  # type: ignore[arg-type]
    event.within(an_envelope())
    return event


def opened(order_id: UUID, sequence: int = 1) -> PaymentOpened:
    event = PaymentOpened(
        subject_id=order_id,
        intent_id=new_id(),
        attempt_id=new_id(),
        provider="esewa",
        amount_paisa=450_00,
        pay_by=NOW,
    )
    event.within(an_envelope(sequence))
    return event


def came_back(order_id: UUID, sequence: int = 1) -> PaymentReturned:
    event = PaymentReturned(subject_id=order_id, intent_id=new_id(), attempt_id=new_id(), provider="esewa")
    event.within(an_envelope(sequence))
    return event


def declined(order_id: UUID, sequence: int = 1) -> PaymentDeclined:
    event = PaymentDeclined(subject_id=order_id, intent_id=new_id(), attempt_id=new_id(), provider="esewa")
    event.within(an_envelope(sequence))
    return event


def failed(order_id: UUID, sequence: int = 1) -> PaymentFailed:
    event = PaymentFailed(subject_id=order_id, intent_id=new_id(), reason="unpaid")
    event.within(an_envelope(sequence))
    return event


def held(
    order_id: UUID, case: UUID, *, is_open: bool = True, reason: str = "mismatch", sequence: int = 1
) -> PaymentHeld:
    event = PaymentHeld.model_validate(
        {"subject_id": order_id, "case_id": case, "reason": reason, "open": is_open}
    )
    event.within(an_envelope(sequence))
    return event


def verified(order_id: UUID, sequence: int = 1, amount_paisa: int = 450_00) -> PaymentVerified:
    event = PaymentVerified(
        subject_id=order_id,
        intent_id=new_id(),
        attempt_id=new_id(),
        payment_id=new_id(),
        provider="esewa",
        amount_paisa=amount_paisa,
        late=False,
        verified_at=NOW,
    )
    event.within(an_envelope(sequence))
    return event


def refunded(order_id: UUID, sequence: int = 1, outstanding_paisa: int = 0) -> PaymentRefunded:
    event = PaymentRefunded(
        subject_id=order_id,
        refund_id=new_id(),
        charge_id=new_id(),
        cause="order",
        amount_paisa=450_00,
        outstanding_paisa=outstanding_paisa,
    )
    event.within(an_envelope(sequence))
    return event


def an_item(**said: Any) -> Item:  # noqa: ANN401
    known: dict[str, Any] = {
        "id": new_id(),
        "line": 1,
        "sku": "kurta-m",
        "quantity": 2,
        "price_paisa": 150_00,
        "vendor_id": SONA,
        "slug": "kurta",
        "title": "Kurta",
        "delivery_paisa": 50_00,
    }
    return Item(**known | said)


def an_order(*items: Item, **said: Any) -> Order:  # noqa: ANN401
    known: dict[str, Any] = {
        "order_id": new_id(),
        "customer_id": CUSTOMER,
        "order_number": "ORD-2026-0000001",
        "method": "esewa",
        "total_paisa": 350_00,
        "hold_no": 1,
        "created_at": NOW,
        "items": items or (an_item(),),
    }
    return Order(**known | said)
