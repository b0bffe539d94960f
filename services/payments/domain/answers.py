"""What orders says about a payment: the order exists, the checkout ended, an item moved."""

from uuid import UUID

from contracts.orders import ItemCancelled, ItemFulfilled, OrderCancelled, OrderFinalized
from contracts.payments import RefundCause
from services.chassis.decisions import Decision, Never, Unchanged, altered
from services.payments.domain.intent import (
    REFUND_STARTS,
    Charge,
    ChargeKind,
    Intent,
    IntentStatus,
    Item,
    ItemStatus,
    Refund,
    applied_charge,
    close_cases,
    moved,
    open_cases,
    quietly,
    with_item,
    with_refund,
)
from services.payments.domain.refunds import is_gone, refunding_paisa


def accept_order(intent: Intent | None, order: OrderFinalized) -> Decision[Intent]:
    """The money has its order: no longer unanswered, and its items are known."""
    if order.method == "cod":
        return Unchanged()
    if intent is None or intent.status is not IntentStatus.SUCCEEDED:
        return Never("an order was finalized on money that payments does not have")
    if intent.answer is not None:
        return Unchanged()
    answered = altered(intent, answer="finalized", items=_with_items(intent, order))
    return close_cases(answered, open_cases(answered, "unanswered"), "the order was finalized")


def _with_items(intent: Intent, order: OrderFinalized) -> tuple[Item, ...]:
    """An item whose own event came first keeps its status and learns its delivery share."""
    known = {item.id: item for item in intent.items}
    return tuple(
        [
            altered(known[one.id], delivery_paisa=one.delivery_paisa)
            if one.id in known
            else Item(one.id, one.vendor_id, one.net_paisa, one.delivery_paisa)
            for one in order.items
        ]
    )


def end_checkout(intent: Intent | None, order: OrderCancelled) -> Decision[Intent]:
    """Before finalization: refund every charge, present or future. Afterwards it is a bare fact."""
    if order.finalized:
        return Unchanged()
    if intent is None:
        return quietly(Intent(order.order_id, IntentStatus.CANCELLED, answer="cancelled"))
    if intent.status is IntentStatus.CANCELLED:
        return Unchanged()
    if intent.answer is not None:
        return Never("a checkout was cancelled after its order was finalized")
    ended = altered(moved(intent, IntentStatus.CANCELLED), answer="cancelled")
    for charge in ended.charges:
        ended = _give_back(ended, charge)
    moot = (*open_cases(ended, "unanswered"), *open_cases(ended, "undecided"))
    return close_cases(ended, moot, "the checkout was cancelled")


def _give_back(intent: Intent, charge: Charge) -> Intent:
    rest = charge.amount_paisa - refunding_paisa(intent, charge)
    if rest == 0 or is_gone(intent, charge):
        return intent
    cause: RefundCause = "surplus" if charge.kind is ChargeKind.SURPLUS else "order"
    return with_refund(intent, Refund(charge.id, charge.id, cause, rest, REFUND_STARTS[charge.provider]))


def cancel_item(intent: Intent | None, item: ItemCancelled) -> Decision[Intent]:
    """An item that will not come is given back to its buyer, once; this event alone says so."""
    if item.method == "cod":
        return Unchanged()
    if intent is None or (charge := applied_charge(intent)) is None:
        return Never("an item was cancelled of an order whose money payments does not have")
    if _is_known_as(intent, item.item_id, "cancelled"):
        return Unchanged()
    if refunding_paisa(intent, charge) + item.refund_paisa > charge.amount_paisa:
        return Never(f"refunding item {item.item_id} would give back more than was paid")
    noted = _with_step(intent, item, "cancelled")
    if item.refund_paisa == 0 or is_gone(intent, charge):
        return quietly(noted)
    start = REFUND_STARTS[charge.provider]
    return quietly(with_refund(noted, Refund(item.item_id, charge.id, "item", item.refund_paisa, start)))


def fulfil_item(intent: Intent | None, item: ItemFulfilled) -> Decision[Intent]:
    """A delivered item is written down: what it earns its vendor follows from this row."""
    if item.method == "cod":
        return Unchanged()
    if intent is None or applied_charge(intent) is None:
        return Never("an item was delivered of an order whose money payments does not have")
    if _is_known_as(intent, item.item_id, "fulfilled"):
        return Unchanged()
    return quietly(_with_step(intent, item, "fulfilled"))


def _is_known_as(intent: Intent, item_id: UUID, status: ItemStatus) -> bool:
    return any(item.id == item_id and item.status == status for item in intent.items)


def _with_step(intent: Intent, step: ItemCancelled | ItemFulfilled, status: ItemStatus) -> Intent:
    first = Item(step.item_id, step.vendor_id, step.net_paisa)
    known = next((item for item in intent.items if item.id == step.item_id), first)
    return with_item(intent, altered(known, status=status))
