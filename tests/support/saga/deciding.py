"""The decisions of the three services by name, with all that a service would give them."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from contracts.inventory import StockReserved
from services.chassis.decisions import Decision
from services.inventory import domain as inventory
from services.inventory.domain import Offer, Shelf
from services.orders.domain import order as orders
from services.orders.domain import place, stages
from services.payments.domain import NewAttempt, OpenIntent, answers, refunds, settling, window
from tests.support.saga.plain import plain_checkout, plain_intent, plain_order, plain_stock
from tests.support.saga.world import (
    AFTER_CLOSE,
    CUSTOMER,
    DELIVERY,
    NOW,
    PAY_BY,
    PRICE,
    TOO_LATE,
    VENDOR,
    sku,
)

Given = Any
"""What a decision is given beside state and cause: free units, a confirmed phone, how late it is."""


def new_attempt(number: int) -> NewAttempt:
    """The facts of one try to pay, as payments makes them; ids come from a small pool."""
    return NewAttempt(
        id=an_id(100 + number),
        provider="esewa",
        reference=f"reference-{number}",
        merchant_code="EPAYTEST",
        opened_at=NOW,
        expires_at=PAY_BY,
        closes_at=TOO_LATE,
        next_check_at=NOW,
    )


def an_id(number: int) -> UUID:
    """The id of this number."""
    return UUID(int=number)


def _opened(event: StockReserved) -> OpenIntent:
    return OpenIntent(
        event.order_id,
        "order",
        event.customer_id,
        event.method,
        event.hold_no,
        event.total_paisa,
        pay_by=PAY_BY,
        close_at=AFTER_CLOSE,
        attempt=None if event.method == "cod" else new_attempt(0),
        envelope=event.envelope,
    )


def _shelf(free: tuple[int, ...]) -> Shelf:
    offers = {
        sku(number): Offer(sku(number), PRICE, VENDOR, DELIVERY, f"slug-{number}", "Title")
        for number in range(len(free))
    }
    return Shelf(offers, {sku(number): units for number, units in enumerate(free)})


Decide = Callable[[Any, Any, Given], Decision[Any]]

ORDERS: Final[dict[str, Decide]] = {
    "place": lambda old, cause, _: place(old, cause),
    "accept_reservation": lambda old, cause, phone: stages.accept_reservation(
        old, cause, now=NOW, confirmed_phones=(CUSTOMER,) if phone else ()
    ),
    "accept_rejection": lambda old, cause, _: stages.accept_rejection(old, cause, now=NOW),
    "hear_hint": lambda old, cause, _: stages.hear_hint(old, cause, now=NOW),
    "hold_payment": lambda old, cause, _: stages.hold_payment(old, cause, now=NOW),
    "accept_payment": lambda old, cause, late: stages.accept_payment(
        old, cause, now=TOO_LATE if late else NOW
    ),
    "accept_refund": lambda old, cause, _: stages.accept_refund(old, cause, now=NOW),
    "cancel": lambda old, cause, _: stages.cancel(old, cause, now=NOW),
    "confirm_phone": lambda old, cause, _: stages.confirm_phone(old, cause, now=NOW),
    "time_is_up": lambda old, cause, _: stages.time_is_up(old, cause, now=NOW),
}
ITEMS: Final[dict[str, Decide]] = {
    "move_item": lambda old, cause, _: orders.move_item(old, cause, now=NOW),
    "roll_up": lambda old, cause, _: orders.roll_up(old, cause),
}
STOCK: Final[dict[str, Decide]] = {
    "reserve": lambda old, cause, free: inventory.reserve(old, cause, _shelf(free)),
    "end": lambda old, cause, _: inventory.end(old, cause),
    "sell": lambda old, cause, _: inventory.sell(old, cause),
    "return_item": lambda old, cause, _: inventory.return_item(old, cause),
}
PAYMENTS: Final[dict[str, Decide]] = {
    "open_intent": lambda old, cause, _: window.open_intent(old, _opened(cause)),
    "open_attempt": lambda old, cause, _: window.open_attempt(old, cause),
    "hear_return": lambda old, cause, _: window.hear_return(old, cause),
    "close_window": lambda old, cause, _: window.close_window(old, cause),
    "report_unanswered": lambda old, cause, _: window.report_unanswered(old, cause),
    "settle": lambda old, cause, _: settling.settle(old, cause),
    "accept_order": lambda old, cause, _: answers.accept_order(old, cause),
    "end_checkout": lambda old, cause, _: answers.end_checkout(old, cause),
    "cancel_item": lambda old, cause, _: answers.cancel_item(old, cause),
    "fulfil_item": lambda old, cause, _: answers.fulfil_item(old, cause),
    "complete_refund": lambda old, cause, _: refunds.complete_refund(old, cause),
    "refund_charge": lambda old, cause, _: refunds.refund_charge(old, cause),
    "uphold_reversal": lambda old, cause, _: refunds.uphold_reversal(old, cause),
}
DECISIONS: Final[dict[str, tuple[str, Callable[[Any], Any], Decide]]] = {
    name: (part, plain, decide)
    for part, plain, table in (
        ("checkout", plain_checkout, ORDERS),
        ("order", plain_order, ITEMS),
        ("stock", plain_stock, STOCK),
        ("intent", plain_intent, PAYMENTS),
    )
    for name, decide in table.items()
}
"""Every decision of the three services, looked up in its module each time: whose state it moves, and how."""
