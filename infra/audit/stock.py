"""Promises about stock: it adds up, it is promised once, and it says what the orders say."""

from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from infra.audit.promises import Finding, Found, promise
from infra.audit.world import World

Units: TypeAlias = Counter[str]
"""Units by SKU."""

FINAL: Final = frozenset(
    {"confirmed", "rejected", "expired", "payment_failed", "cancelled", "refund_pending", "refunded"}
)
HELD_AT_MOST: Final = timedelta(hours=2, minutes=15)
"""Beyond the time to pay."""

LEDGER: Final = """
    select sku, coalesce(on_hand, 0) as on_hand, coalesce(moved, 0)::bigint as moved
    from stock full join (
        select sku, sum(delta) as moved from stock_movements group by sku
    ) as ledger using (sku)
"""


@promise(
    "STK-1", kind="A", says="Stock on hand = the sum of its movements, for each SKU", needs=("inventory",)
)
async def stock_is_its_ledger(world: World) -> Finding:
    found = Found()
    rows = await world.rows("inventory", LEDGER)
    for sku, on_hand, moved in rows:
        if on_hand != moved:
            found.add("on hand is not the sum of the movements", sku, f"{on_hand} != {moved}")
    return found.finding(len(rows))


PROMISED: Final = """
    select sku, coalesce(reserved, 0) as reserved, coalesce(held, 0)::bigint as held
    from stock full join (
        select sku, sum(quantity) as held
        from hold_lines join holds using (order_id, hold_no)
        where status = 'held' group by sku
    ) as live using (sku)
"""


@promise("STK-2", kind="A", says="Reserved = the sum of live holds, for each SKU", needs=("inventory",))
async def reserved_is_held(world: World) -> Finding:
    found = Found()
    rows = await world.rows("inventory", PROMISED)
    for sku, reserved, held in rows:
        if reserved != held:
            found.add("reserved is not the sum of live holds", sku, f"{reserved} != {held}")
    return found.finding(len(rows))


OUT_OF_BOUNDS: Final = """
    select sku, on_hand, reserved, reserved < 0 or reserved > on_hand as wrong from stock
"""


@promise(
    "STK-3", kind="A", says="Never negative, never promised twice: 0 <= reserved <= on hand",
    needs=("inventory",),
)  # fmt: skip
async def never_promised_twice(world: World) -> Finding:
    found = Found()
    rows = await world.rows("inventory", OUT_OF_BOUNDS)
    for sku, on_hand, reserved, wrong in rows:
        if wrong:
            found.add("more promised than there is", sku, f"{reserved} of {on_hand}")
    return found.finding(len(rows))


HOLDS: Final = "select order_id, hold_no, status, opened_at, closed_at from holds"
SOLD: Final = """
    select order_id, hold_no, sku, coalesce(line.quantity, 0) as held, coalesce(sold.units, 0)::bigint as sold
    from (
        select order_id, hold_no, sku, quantity
        from hold_lines join holds using (order_id, hold_no)
        where status = 'consumed'
    ) as line
    full join (
        select order_id, hold_no, sku, -sum(delta) as units
        from stock_movements where kind = 'sold' group by order_id, hold_no, sku
    ) as sold using (order_id, hold_no, sku)
"""
# What inventory told of a hold says how it must stand now.
TOLD_OF: Final = {
    "stock.reserved": frozenset({"held", "consumed", "ended"}),
    "stock.rejected": frozenset({"refused"}),
    "stock.released": frozenset({"ended"}),
}


@promise(
    "STK-4",
    kind="A",
    says="A hold ends once: sold or on sale again, never both, never back",
    needs=("inventory",),
)
async def a_hold_ends_once(world: World) -> Finding:
    found = Found()
    rows = await world.rows("inventory", HOLDS)
    _look_at_holds(found, rows)
    for order_id, hold_no, sku, held, sold in await world.rows("inventory", SOLD):
        if held != sold:
            found.add("sold units are not those of the consumed hold", order_id, hold_no, sku)
    _look_at_told(found, world, {(str(row["order_id"]), row["hold_no"]): row["status"] for row in rows})
    return found.finding(len(rows))


def _look_at_holds(found: Found, rows: list[Any]) -> None:
    live = Counter(row["order_id"] for row in rows if row["status"] in ("held", "consumed"))
    for order_id in [order_id for order_id, times in live.items() if times > 1]:
        found.add("more than one hold live or sold", order_id)
    for row in rows:
        if (row["status"] == "held") != (row["closed_at"] is None):
            found.add("hold whose end has no time, or the other way round", row["order_id"], row["hold_no"])


def _look_at_told(found: Found, world: World, statuses: dict[tuple[str, int], str]) -> None:
    times: Counter[tuple[str, str, Any]] = Counter()
    for record in world.log.of(*TOLD_OF):
        key, hold_no = record.key or "", record.facts[0]
        times[record.topic, key, hold_no] += 1
        if statuses.get((key, hold_no)) not in TOLD_OF[record.topic] and record.id in world.told:
            found.add(f"told as {record.topic}, but it is not so", key, hold_no)
    for (topic, key, hold_no), number in times.items():
        if number > 1:
            found.add(f"{topic} told more than once", key, hold_no)


HOLD_LINES: Final = """
    select order_id, hold_no, status, sku, quantity
    from holds left join hold_lines using (order_id, hold_no)
"""
CHECKOUT_LINES: Final = """
    select order_id, line.value->>'sku' as sku, sum((line.value->>'quantity')::bigint)::bigint as quantity
    from checkouts, jsonb_each(lines) as line
    group by order_id, line.value->>'sku'
"""


@promise(
    "STK-5",
    kind="A",
    says="All lines or none: a hold's lines = its checkout's lines, same SKUs summed, or no line",
    needs=("inventory", "orders"),
)
async def all_lines_or_none(world: World) -> Finding:
    found = Found()
    wanted: defaultdict[UUID, Units] = defaultdict(Counter)
    for order_id, sku, quantity in await world.rows("orders", CHECKOUT_LINES):
        wanted[order_id][sku] = quantity
    held: defaultdict[tuple[UUID, int, str], Units] = defaultdict(Counter)
    for order_id, hold_no, status, sku, quantity in await world.rows("inventory", HOLD_LINES):
        lines = held[order_id, hold_no, status]
        if sku is not None:
            lines[sku] += quantity
    for (order_id, hold_no, status), lines in held.items():
        if (lines or status in ("held", "consumed")) and lines != wanted[order_id]:
            found.add("hold that is neither the whole checkout nor nothing", order_id, hold_no)
        if lines and status == "refused":
            found.add("refused hold with lines", order_id, hold_no)
    return found.finding(len(held))


CONSUMED: Final = """
    select order_id, sku, sum(quantity)::bigint
    from hold_lines join holds using (order_id, hold_no)
    where status = 'consumed' group by order_id, sku
"""
BOUGHT: Final = "select order_id, sku, sum(quantity)::bigint from order_items group by order_id, sku"
RETURNED: Final = """
    select order_item_id, sku, sum(delta)::bigint from stock_movements
    where kind = 'returned' group by order_item_id, sku
"""
CANCELLED: Final = "select id, sku, quantity from order_items where status = 'cancelled'"
STAGES: Final = "select order_id, stage, pay_within_s from checkouts"


@promise(
    "STK-6",
    kind="Q",
    says="Inventory and orders tell the same story: sold = ordered, returned = cancelled, held = under way",
    needs=("inventory", "orders"),
)
async def one_story(world: World) -> Finding:
    found = Found()
    sold = {(row[0], row[1]): row[2] for row in await world.rows("inventory", CONSUMED)}
    bought = {(row[0], row[1]): row[2] for row in await world.rows("orders", BOUGHT)}
    for order_id, sku in sold.keys() | bought.keys():
        ordered, taken = bought.get((order_id, sku), 0), sold.get((order_id, sku), 0)
        if ordered != taken:
            found.add("units sold are not the units ordered", order_id, sku, f"{taken} != {ordered}")
    await _look_at_returns(found, world)
    stages = {row["order_id"]: row["stage"] for row in await world.rows("orders", STAGES)}
    for row in await world.rows("inventory", HOLDS):
        if row["status"] == "held" and row["order_id"] not in stages:
            found.add("held for a checkout that orders does not know", row["order_id"])
    return found.finding(len(bought))


async def _look_at_returns(found: Found, world: World) -> None:
    stay_away = {str(one.facts[0]) for one in world.log.of("item.cancelled") if one.facts[1] is False}
    back = {(row[0], row[1]): row[2] for row in await world.rows("inventory", RETURNED)}
    for item_id, sku, quantity in await world.rows("orders", CANCELLED):
        expected = 0 if str(item_id) in stay_away else quantity
        if back.pop((item_id, sku), 0) != expected:
            found.add("cancelled item whose units did not come back as they should", item_id, sku)
    for item_id, sku in back:
        found.add("units came back of an item that is not cancelled", item_id, sku)


@promise(
    "STK-7",
    kind="Q",
    says="Nothing is held for ever: every live hold is of a checkout under way and below the hard limit",
    needs=("inventory", "orders"),
)
async def nothing_held_for_ever(world: World) -> Finding:
    found = Found()
    checkouts = {row["order_id"]: row for row in await world.rows("orders", STAGES)}
    held = [row for row in await world.rows("inventory", HOLDS) if row["status"] == "held"]
    for hold in held:
        checkout = checkouts.get(hold["order_id"])
        if checkout is None or checkout["stage"] in FINAL:
            stage = checkout["stage"] if checkout else "unknown"
            found.add("held for a checkout that is over", hold["order_id"], hold["hold_no"], stage)
            continue
        if world.now - hold["opened_at"] > HELD_AT_MOST + timedelta(seconds=checkout["pay_within_s"]):
            found.add("held for too long", hold["order_id"], hold["hold_no"])
    return found.finding(len(held))
