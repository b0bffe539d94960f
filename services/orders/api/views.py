"""Values of the domain as the bodies people read, and the domain's refusals as problems."""

from datetime import datetime
from typing import Final

from contracts.http import orders as bodies
from services.chassis.decisions import Decision, Refused
from services.chassis.errors import FieldError, Problem
from services.orders import domain
from services.orders.domain import Actor, Checkout, Item, ItemStatus, Line, Order, Stage
from services.orders.store.reading import ItemSeen, Summary

STATUS: Final = {
    "NOT_FOUND": 404,
    "FORBIDDEN": 403,
    "STALE": 412,
    "CART_EMPTY": 422,
    "CART_FULL": 422,
    "QUANTITY_LIMIT": 422,
    "COLLECTION_REQUIRED": 422,
    "NOTHING_TO_COLLECT": 422,
}
"""Of a refusal by its code; the others are 409."""
FORWARD: Final = {
    ItemStatus.PENDING: ItemStatus.PROCESSING,
    ItemStatus.PROCESSING: ItemStatus.SHIPPED,
    ItemStatus.SHIPPED: ItemStatus.DELIVERED,
}


def problem_of(refused: Refused) -> Problem:
    """What the caller is told."""
    if refused.code in {"COLLECTION_REQUIRED", "NOTHING_TO_COLLECT"}:
        errors = [FieldError("/collected_paisa", refused.code, refused.detail)]
        return Problem(422, "VALIDATION_FAILED", refused.detail, errors=errors)
    return Problem(STATUS.get(refused.code, 409), refused.code, refused.detail)


def unless_refused(outcome: Decision[Checkout]) -> None:
    """Raise the problem of a refusal; anything else is fine."""
    if isinstance(outcome, Refused):
        raise problem_of(outcome)


def checkout_view(checkout: Checkout, placed_at: datetime, updated_at: datetime) -> bodies.Checkout:
    """A checkout as its customer sees it."""
    confirmed = checkout.stage is Stage.CONFIRMED
    return bodies.Checkout(
        id=checkout.order_id,
        stage=checkout.stage.value,
        method=checkout.method,
        amount_paisa=checkout.total_paisa,
        lines=[_line(line) for line in checkout.lines],
        refusals=[bodies.LineRefusal(sku=sku, code=code) for sku, code in checkout.refusals],
        order_id=checkout.order_id if confirmed else None,
        order_number=checkout.order_number or None if confirmed else None,
        version=checkout.version,
        created_at=placed_at,
        updated_at=updated_at,
    )


def _line(line: Line) -> bodies.CheckoutLine:
    if line.price_paisa is None:
        return bodies.CheckoutLine(sku=line.sku, quantity=line.quantity)
    return bodies.CheckoutLine(
        sku=line.sku,
        quantity=line.quantity,
        title=line.title,
        vendor_id=line.vendor_id,
        price_paisa=line.price_paisa,
    )


def order_view(order: Order, actor: Actor) -> bodies.Order:
    """An order as its customer sees it; only what was delivered may be reviewed."""
    return bodies.Order(
        id=order.order_id,
        order_number=order.order_number,
        status=order.status.value,
        method=order.method,
        total_paisa=order.total_paisa,
        items=[item_view(item, actor, blocked=order.blocked) for item in order.items],
        review_eligible=order.status is domain.OrderStatus.DELIVERED,
        delivered_at=order.delivered_at,
        created_at=order.created_at,
        version=order.version,
    )


def item_view(item: Item, actor: Actor, *, blocked: bool) -> bodies.OrderItem:
    """An item with what this person may do with it now."""
    actions = domain.allowed_actions(item, actor, blocked=blocked)
    forward = FORWARD.get(item.status)
    return bodies.OrderItem(
        id=item.id,
        sku=item.sku,
        title=item.title,
        vendor_id=item.vendor_id,
        quantity=item.quantity,
        price_paisa=item.price_paisa,
        net_paisa=item.net_paisa,
        delivery_paisa=item.delivery_paisa,
        status=item.status.value,
        version=item.version,
        allowed_actions=[action.value for action in actions],
        suggested_action=forward.value if forward in actions and forward else None,
    )


def vendor_item_view(seen: ItemSeen, actor: Actor) -> bodies.VendorItem:
    """An item as its vendor sees it."""
    item = item_view(seen.item, actor, blocked=seen.blocked)
    return bodies.VendorItem(order_id=seen.order_id, order_number=seen.order_number, **item.model_dump())


def summary_view(summary: Summary) -> bodies.OrderSummary:
    """One row of a list of orders."""
    return bodies.OrderSummary.model_validate(
        {
            "id": summary.order_id,
            "stage": summary.stage,
            "status": summary.status,
            "order_number": summary.order_number,
            "method": summary.method,
            "total_paisa": summary.total_paisa,
            "created_at": summary.placed_at,
        }
    )
