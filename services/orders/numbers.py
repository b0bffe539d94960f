"""What orders counts about its business, once it is committed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from prometheus_client import Counter, Histogram

from services.orders.domain import Checkout, CreateOrder, OrderStep, Step

PAYMENT_TO_ORDER: Final = Histogram(
    "kb_payment_to_order_seconds",
    "From the proof of a payment to its order.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800),
)
CHECKOUT_STEPS: Final = Counter(
    "kb_checkout_steps_total", "Checkouts that came into a stage; `none` is where they begin.", ["old", "new"]
)
ORDER_STEPS: Final = Counter("kb_order_steps_total", "Orders that came into a status.", ["status"])


def count_steps(steps: Sequence[Step]) -> None:
    """Checkouts moved from stage to stage; called after the commit."""
    for one in steps:
        CHECKOUT_STEPS.labels(one.old or "none", one.new).inc()


def count_checkouts(
    done: Sequence[Any], saved: Mapping[UUID, Checkout], paid_at: Mapping[UUID, datetime], now: datetime
) -> None:
    """Stages, and how long payers waited for their orders; called after the commit."""
    count_steps([one for one in done if isinstance(one, Step)])
    for one in done:
        if not isinstance(one, CreateOrder):
            continue
        order_id = one.order.order_id
        paid = paid_at.get(order_id) or saved[order_id].paid_at
        ORDER_STEPS.labels(one.order.status).inc()
        if paid is not None:
            PAYMENT_TO_ORDER.observe(max(0.0, (now - paid).total_seconds()))


def count_orders(steps: Sequence[OrderStep]) -> None:
    """Orders moved from status to status; called after the commit."""
    for one in steps:
        ORDER_STEPS.labels(one.new).inc()
