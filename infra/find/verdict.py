"""Where an order is and why, in a sentence or two: first what stands in its way, then its stage."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from infra.find.awaited import OPEN_ITEM
from infra.find.events import Event
from infra.find.facts import Facts, record_name

WAITS_OUT: Final = ("parked", "retry")
PUBLISHED_WITHIN: Final = timedelta(seconds=5)
HEARD_WITHIN: Final = timedelta(seconds=5)
MOST_REASONS: Final = 5

SAYS: Final = {
    "reserving": "the checkout asks inventory for its stock and has no answer yet",
    "awaiting_phone": "the stock is held; the phone number must be confirmed first",
    "awaiting_payment": "the stock is held, and nobody has paid yet",
    "verifying": "the payer came back, and we are asking the payment provider",
    "on_hold": "a person must look at its payment",
    "processing": "it is paid; inventory is asked for the stock again",
    "confirmed": "the order exists",
    "rejected": "it never began: what was wanted is not available",
    "expired": "nobody paid in time; the stock is back on the shelf",
    "payment_failed": "no payment succeeded; the stock is back on the shelf",
    "cancelled": "it was cancelled before an order existed",
    "refund_pending": "it is paid and there is no order: the money is on its way back",
    "refunded": "it was paid, there is no order, and the money is back",
}


def where_and_why(facts: Facts) -> str:
    """One paragraph; it says whom nobody could ask when that matters."""
    reasons = list(_in_the_way(facts))
    more = len(reasons) - MOST_REASONS
    shown = [*reasons[:MOST_REASONS], *([f"and {more} more of the kind."] if more > 0 else [])]
    return " ".join([_stage(facts), *shown])


def _stage(facts: Facts) -> str:
    checkout, order = facts.one("checkout"), facts.one("order")
    if checkout is None:
        return _without_orders(facts)
    said = SAYS.get(checkout["stage"], "this release does not know its stage")
    if order is not None:
        said += f", its number is {order['order_number']}, and it is {_order(facts, order['status'])}"
    if order is not None and order["blocked"]:
        said += "; nothing of it may ship until its review case is closed"
    if checkout["refusals"]:
        said += f" ({checkout['refusals']})"
    return f"{checkout['stage']}: {said}."


def _order(facts: Facts, status: str) -> str:
    open_ = [
        f"{item['sku']} is {item['status']}" for item in facts.all("items") if item["status"] in OPEN_ITEM
    ]
    return f"{status} ({', '.join(open_)})" if open_ else status


def _without_orders(facts: Facts) -> str:
    """What the others can say when orders is away, or does not know it."""
    intent, holds = facts.one("intent"), facts.all("holds")
    said = [f"payments says {intent['status']}"] if intent is not None else []
    said += [f"inventory says hold {hold['hold_no']} is {hold['status']}" for hold in holds]
    about = "orders could not be asked" if "orders" in facts.silent else "orders knows no checkout of this id"
    return f"{about}{': ' if said else ''}{', '.join(said)}."


def _in_the_way(facts: Facts) -> Iterator[str]:
    yield from _parked(facts)
    yield from _refused(facts)
    for event in facts.events:
        age = facts.now - event.at
        if not event.published and age > PUBLISHED_WITHIN:
            yield f"{event.topic} was told {_ago(age)} ago and has not left the outbox of {event.owner}."
        if event.published:
            yield from _unheard(facts, event, late=age > HEARD_WITHIN)


def _unheard(facts: Facts, event: Event, *, late: bool) -> Iterator[str]:
    for service in event.unheard_by:
        group = facts.groups.get((service, event.topic))
        # A parked one is told of above, and of a silent service nobody knows.
        if service in facts.silent or _is_parked(facts, service, event.id) or not group:
            continue
        if event.offset is not None and event.offset < group.read_to:
            yield f"{service} has read past {event.where}, and its inbox does not have it."
        elif late:
            yield f"{service} has not taken {event.where} yet: it is {group.behind} records behind there."


def _is_parked(facts: Facts, service: str, event_id: object) -> bool:
    rows = facts.by_service.get(service, {}).get("parked", [])
    return any(row["event_id"] == event_id for row in rows)


def _parked(facts: Facts) -> Iterator[str]:
    for service, said in facts.by_service.items():
        for row in said.get("parked", ()):
            where = f"{row['topic']}[{row['part']}]@{row['kafka_offset']}"
            cause, look = f"{row['reason']}: {row['error']}", _look(record_name(service, "parked", row))
            if row["state"] == "parked":
                yield f"{service} has parked {where} ({cause}), and its key waits behind it: {look}."
            elif row["state"] == "dead":
                yield f"{service} has set {where} aside for good ({cause}); nothing waits behind it: {look}."


def _refused(facts: Facts) -> Iterator[str]:
    for service, said in facts.by_service.items():
        for row in said.get("refused", ()):
            if row["state"] in WAITS_OUT:
                cause, look = row["error"], _look(record_name(service, "refused", row))
                yield f"the broker refuses {row['topic']} of {service} ({cause}); its key waits: {look}."


def _look(record: str) -> str:
    return f"`kb parked show {record}`"


def _ago(age: timedelta) -> str:
    return f"{age.total_seconds():.0f} s"
