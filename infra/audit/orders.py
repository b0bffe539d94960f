"""Promises about orders: none is empty, each says what its items say, and every step was allowed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from infra.audit.promises import Finding, Found, promise
from infra.audit.world import World

ORDERS: Final = "select order_id, status, delivered_at from orders"
ITEMS: Final = """
    select order_id, array_agg(status) as statuses, max(delivered_at) as delivered_at
    from order_items group by order_id
"""


def rollup(statuses: Iterable[str]) -> str:
    """What the items' statuses amount to."""
    seen = set(statuses)
    if seen & {"pending", "processing", "shipped"}:
        return "confirmed"
    if "delivered" in seen:
        return "delivered"
    return "cancelled"


@promise("ORD-1", kind="Q", says="An order's status follows from its items' statuses", needs=("orders",))
async def status_follows_items(world: World) -> Finding:
    found = Found()
    items = {row["order_id"]: row["statuses"] for row in await world.rows("orders", ITEMS)}
    orders = await world.rows("orders", ORDERS)
    for order in orders:
        expected = rollup(items.get(order["order_id"], ()))
        if order["status"] != expected:
            found.add(f"{order['status']}, but its items say {expected}", order["order_id"])
    return found.finding(len(orders))


EMPTY: Final = """
    select order_id from orders
    where not exists (select from order_items where order_items.order_id = orders.order_id)
"""
LACKING: Final = """
    select id from order_items
    where vendor_id is null or vendor_id = '00000000-0000-0000-0000-000000000000'
       or coalesce(slug, '') = '' or coalesce(sku, '') = ''
       or price_paisa is null or price_paisa < 0 or quantity is null or quantity < 1
"""
ORPHANS: Final = """
    select id from order_items
    where not exists (select from orders where orders.order_id = order_items.order_id)
"""
UNMADE: Final = """
    select order_id from checkouts
    where (stage = 'confirmed')
          <> exists (select from orders where orders.order_id = checkouts.order_id)
    union all
    select order_id from orders
    where not exists (select from checkouts where checkouts.order_id = orders.order_id)
"""
COUNT_ORDERS: Final = "select count(*) from orders"


@promise(
    "ORD-3",
    kind="A",
    says="No empty order: every order has an item, each with vendor, slug, price and quantity; "
    "an order is there exactly when its checkout is confirmed",
    needs=("orders",),
)
async def no_empty_order(world: World) -> Finding:
    found = Found()
    asked = (
        (EMPTY, "order without items"),
        (LACKING, "item without vendor, slug, SKU, price or quantity"),
        (ORPHANS, "item without an order"),
        (UNMADE, "confirmed checkout without an order, or the other way round"),
    )
    for query, what in asked:
        for (key,) in await world.rows("orders", query):
            found.add(what, key)
    ((orders,),) = await world.rows("orders", COUNT_ORDERS)
    return found.finding(orders)


@promise(
    "ORD-4",
    kind="A",
    says="delivered_at is that of the last item delivered, and absent unless delivered",
    needs=("orders",),
)
async def delivered_when_the_last_item_was(world: World) -> Finding:
    found = Found()
    latest = {row["order_id"]: row["delivered_at"] for row in await world.rows("orders", ITEMS)}
    orders = await world.rows("orders", ORDERS)
    for order in orders:
        expected = latest.get(order["order_id"]) if order["status"] == "delivered" else None
        if order["delivered_at"] != expected:
            found.add("delivered_at is not that of its last item", order["order_id"])
        elif order["status"] == "delivered" and expected is None:
            found.add("delivered at no time", order["order_id"])
    return found.finding(len(orders))


Steps = Mapping[str | None, frozenset[str]]


def _to(*statuses: str) -> frozenset[str]:
    return frozenset(statuses)


_PAYABLE: Final = _to("on_hold", "expired", "payment_failed", "confirmed", "cancelled", "refund_pending")
_UNPAID: Final = _to("on_hold", "processing", "refund_pending", "refunded")
CHECKOUT_STEPS: Final[Steps] = {
    None: _to("reserving"),
    "reserving": _to(
        "awaiting_phone", "awaiting_payment", "verifying", "on_hold", "confirmed", "rejected", "expired",
        "payment_failed", "cancelled", "refund_pending",
    ),
    "awaiting_phone": _to("confirmed", "cancelled", "expired"),
    "awaiting_payment": _PAYABLE | {"verifying"},
    "verifying": _PAYABLE | {"awaiting_payment"},
    "on_hold": _to(
        "verifying", "processing", "confirmed", "expired", "payment_failed", "refund_pending", "refunded"
    ),
    "expired": _UNPAID,
    "payment_failed": _UNPAID,
    "processing": _to("confirmed", "refund_pending"),
    "confirmed": _to(),
    "rejected": _to(),
    "cancelled": _to("refund_pending", "refunded"),
    "refund_pending": _to("refunded"),
    "refunded": _to("refund_pending"),
}  # fmt: skip
ORDER_STEPS: Final[Steps] = {
    None: _to("confirmed"),
    "confirmed": _to("delivered", "cancelled"),
}
ITEM_STEPS: Final[Steps] = {
    None: _to("pending"),
    "pending": _to("processing", "cancelled"),
    "processing": _to("shipped", "cancelled"),
    "shipped": _to("delivered", "cancelled"),
}


@dataclass(frozen=True, slots=True)
class Walk:
    """A history and where it leads: `rows` gives (key, seq, old, new), `present` (key, status, steps)."""

    of: str
    steps: Steps
    rows: str
    present: str


WALKS: Final = (
    Walk(
        "checkout",
        CHECKOUT_STEPS,
        "select order_id, seq, old_stage, new_stage from checkout_history order by order_id, seq",
        "select order_id, stage, version from checkouts",
    ),
    Walk(
        "order",
        ORDER_STEPS,
        "select order_id, seq, old_status, new_status from order_history order by order_id, seq",
        "select order_id, status, steps from orders",
    ),
    Walk(
        "item",
        ITEM_STEPS,
        "select item_id, seq, old_status, new_status from item_history order by item_id, seq",
        "select id, status, version from order_items",
    ),
)


@promise(
    "ORD-6",
    kind="A",
    says="Histories are legal walks: numbered without a gap, each step allowed, the last one the present",
    needs=("orders",),
)
async def histories_are_legal_walks(world: World) -> Finding:
    found, examined = Found(), 0
    for walk in WALKS:
        present = {row[0]: (row[1], row[2]) for row in await world.rows("orders", walk.present)}
        history = await world.rows("orders", walk.rows)
        examined += len(history)
        for key, rows in groupby(history, key=itemgetter(0)):
            _follow(found, walk, key, list(rows), present.pop(key, None))
        for key in present:
            found.add(f"{walk.of} without a history", key)
    return found.finding(examined)


def _follow(found: Found, walk: Walk, key: Any, rows: list[Any], present: Any) -> None:  # noqa: ANN401 - rows
    before = None
    for number, (_, seq, old, new) in enumerate(rows, 1):
        if seq != number:
            found.add(f"{walk.of} history with a gap", key, f"{seq} instead of {number}")
            return
        if old != before:
            found.add(f"{walk.of} history whose steps do not join", key, f"{before} then {old} -> {new}")
        elif new not in walk.steps.get(old, frozenset()):
            found.add(f"{walk.of} took a step that does not exist", key, f"{old} -> {new}")
        before = new
    if present is None:
        found.add(f"history of no {walk.of}", key)
    elif present != (before, len(rows)):
        found.add(f"{walk.of} is not where its history ends", key, f"{present[0]}, not {before}")


BACK_IN_CART: Final = """
    select checkouts.order_id, cart_lines.sku
    from cart_lines join checkouts on checkouts.order_id = cart_lines.returned_from
    where checkouts.stage = 'confirmed' or not checkouts.lines_returned
"""
NOT_RETURNED: Final = """
    select order_id from checkouts
    where (stage in ('rejected', 'expired', 'payment_failed', 'cancelled', 'refund_pending', 'refunded')
           and not lines_returned)
       or (stage = 'confirmed' and lines_returned)
"""
FROM_NOWHERE: Final = """
    select returned_from, sku from cart_lines
    where returned_from <> '00000000-0000-0000-0000-000000000000'
      and not exists (
          select from checkouts, jsonb_each(lines) as line
          where checkouts.order_id = cart_lines.returned_from
            and checkouts.customer_id = cart_lines.user_id and line.value->>'sku' = cart_lines.sku)
"""
COUNT_CHECKOUTS: Final = "select count(*) from checkouts"


@promise(
    "ORD-7",
    kind="Q",
    says="The cart tells the truth: no line of a confirmed checkout is in it; lines of one that ended "
    "without an order went back (a customer may have taken them out since)",
    needs=("orders",),
)
async def the_cart_tells_the_truth(world: World) -> Finding:
    found = Found()
    asked = (
        (BACK_IN_CART, "line of a checkout that has not given it back"),
        (NOT_RETURNED, "checkout whose lines are not where its end puts them"),
        (FROM_NOWHERE, "line returned from a checkout that never had it"),
    )
    for query, what in asked:
        for row in await world.rows("orders", query):
            found.add(what, *row)
    ((checkouts,),) = await world.rows("orders", COUNT_CHECKOUTS)
    return found.finding(checkouts)
