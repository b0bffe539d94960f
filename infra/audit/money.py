"""Promises about money: nothing hangs, nothing is taken or given back twice, and the gateway agrees."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from infra.audit.promises import Finding, Found, promise
from infra.audit.world import TOPICS_KEPT, World

CASE_LIMIT: Final = timedelta(days=7)
"""A person has to decide an open case within this time."""
LEFT_BEHIND: Final = frozenset(
    {
        "reserving", "awaiting_phone", "awaiting_payment", "verifying", "on_hold",
        "expired", "payment_failed", "rejected", "cancelled",
    }
)  # fmt: skip
"""Where money may arrive, but not stay."""

CHARGES: Final = """
    select charge.id, attempt.subject_id, allocation.subject_id as allocated_to, allocation.kind,
           charge.amount_paisa, attempt.status as attempt, intent.answer,
           coalesce(given.refunding, 0)::bigint as refunding, coalesce(given.done, 0)::bigint as done,
           aside.since as case_since, coalesce(aside.reversal, false) as reversal
    from charges as charge
    join attempts as attempt on attempt.id = charge.attempt_id
    left join allocations as allocation on allocation.charge_id = charge.id
    left join intents as intent on intent.subject_id = attempt.subject_id
    left join (
        select charge_id, sum(amount_paisa) filter (where status <> 'REJECTED') as refunding,
               sum(amount_paisa) filter (where status = 'SUCCEEDED') as done
        from refunds group by charge_id
    ) as given on given.charge_id = charge.id
    left join (
        select subject_id, min(opened_at) as since, bool_or(reason = 'reversed') as reversal
        from review_cases where open group by subject_id
    ) as aside on aside.subject_id = attempt.subject_id
    where intent.subject_kind is distinct from 'booking'
"""
ITEM_REFUNDS: Final = """
    select id, subject_id, amount_paisa from refunds where cause = 'item' and status <> 'REJECTED'
"""
CHECKOUTS: Final = "select order_id, stage, paid_at is not null as paid from checkouts"
CANCELLED_ITEMS: Final = """
    select item.id, item.order_id, item.net_paisa + item.delivery_paisa as paisa
    from order_items as item join orders using (order_id)
    where item.status = 'cancelled' and orders.method <> 'cod'
"""


@promise(
    "MON-1",
    kind="Q",
    says="Money never hangs: a verified payment is one finalized order or one refund "
    "(a refund task for a person counts as on its way), or an open review case",
    needs=("orders", "payments"),
)
async def money_never_hangs(world: World) -> Finding:
    found = Found()
    charges = await world.rows("payments", CHARGES)
    stages = {row["order_id"]: row for row in await world.rows("orders", CHECKOUTS)}
    for charge in charges:
        _look_at_charge(found, world, charge, stages.get(charge["subject_id"]))
    _look_at_stages(found, stages, charges)
    await _look_at_items(found, world, charges)
    return found.finding(len(charges))


def _look_at_charge(found: Found, world: World, charge: Any, checkout: Any) -> None:  # noqa: ANN401 - database rows
    kind, subject = charge["kind"], charge["subject_id"]
    if kind is None:
        found.add("charge without an allocation", charge["id"])
        return
    if charge["allocated_to"] != subject:
        found.add("charge allocated to another subject than it was made for", charge["id"])
    if kind == "APPLIED" and checkout is not None and checkout["stage"] == "confirmed":
        if charge["answer"] != "finalized":
            found.add("payments does not know of the order made of this charge", charge["id"], subject)
    elif charge["refunding"] != charge["amount_paisa"] and not _is_settled_otherwise(world, charge):
        found.add(f"{kind} charge with neither an order nor its whole refund", charge["id"], subject)


def _is_settled_otherwise(world: World, charge: Any) -> bool:  # noqa: ANN401 - a database row
    """A person is looking at it, or the gateway took the money back and a person let it go."""
    if charge["case_since"] is not None:
        return bool(world.now - charge["case_since"] <= CASE_LIMIT)
    return bool(charge["attempt"] == "REVERSED")


def _look_at_stages(found: Found, stages: dict[UUID, Any], charges: list[Any]) -> None:
    of_subject: defaultdict[UUID, list[Any]] = defaultdict(list)
    for charge in charges:
        of_subject[charge["subject_id"]].append(charge)
    for order_id, checkout in stages.items():
        if wrong := _wrong_stage(checkout, of_subject.get(order_id, [])):
            found.add(wrong, order_id)


def _wrong_stage(checkout: Any, charges: list[Any]) -> str:  # noqa: ANN401 - a database row
    """What is wrong with a checkout in this stage and these charges, if anything."""
    stage, verified = checkout["stage"], any(one["kind"] in ("APPLIED", "LATE") for one in charges)
    # A refund that overtakes its payment makes orders ignore the payment, which is old news then.
    if checkout["paid"] != verified and (checkout["paid"] or stage != "refunded"):
        return "payment that only one of orders and payments knows"
    is_reviewed = any(one["case_since"] for one in charges)
    if stage == "processing" or (verified and stage in LEFT_BEHIND and not is_reviewed):
        return f"paid checkout left {stage}"
    if stage in ("refund_pending", "refunded") and not charges:
        return f"checkout {stage} without any charge"
    if stage == "refunded" and any(_is_due_back(one) for one in charges):
        return "checkout refunded before its money was"
    return ""


def _is_due_back(charge: Any) -> bool:  # noqa: ANN401 - a database row
    gone = charge["attempt"] == "REVERSED" and not charge["reversal"]
    return bool(charge["done"] < charge["amount_paisa"] and not gone)


async def _look_at_items(found: Found, world: World, charges: list[Any]) -> None:
    """A cancelled item of a paid order goes back exactly, and no other item does."""
    excused = {one["subject_id"] for one in charges if _is_settled_otherwise(world, one)}
    refunds = {row["id"]: row["amount_paisa"] for row in await world.rows("payments", ITEM_REFUNDS)}
    for item in await world.rows("orders", CANCELLED_ITEMS):
        refunded = refunds.pop(item["id"], 0)
        if refunded != item["paisa"] and item["order_id"] not in excused:
            found.add("cancelled item that is not refunded exactly", item["id"], item["order_id"])
    for item_id in refunds:
        found.add("refund of an item that is not cancelled", item_id)


APPLIED_TWICE: Final = """
    select subject_id from allocations where kind = 'APPLIED' group by subject_id having count(*) > 1
"""
VERIFIED_TWICE: Final = """
    select subject_id from allocations where kind in ('APPLIED', 'LATE')
    group by subject_id having count(*) > 1
"""
CHARGED_TWICE: Final = """
    select provider || ' ' || provider_txn_id from charges
    group by provider, provider_txn_id having count(*) > 1
    union all
    select attempt_id::text from charges group by attempt_id having count(*) > 1
"""
ORDERED_TWICE: Final = "select order_id from orders group by order_id having count(*) > 1"
COUNT_INTENTS: Final = "select count(*) from intents"


@promise(
    "MON-2",
    kind="A",
    says="One order and one applied charge per intent",
    needs=("orders", "payments"),
)
async def one_charge_one_order(world: World) -> Finding:
    found = Found()
    asked = (
        ("payments", APPLIED_TWICE, "more than one applied charge"),
        ("payments", VERIFIED_TWICE, "verified more than once"),
        ("payments", CHARGED_TWICE, "one payment at the gateway charged more than once"),
        ("orders", ORDERED_TWICE, "more than one order"),
    )
    for service, query, what in asked:
        for (key,) in await world.rows(service, query):
            found.add(what, key)
    ((intents,),) = await world.rows("payments", COUNT_INTENTS)
    return found.finding(intents)


OUR_MONEY: Final = """
    select charge.provider_txn_id, charge.amount_paisa, charge.id, attempt.reference, attempt.status,
           max(allocation.kind) as kind,
           coalesce(sum(refund.amount_paisa) filter (where refund.status = 'SUCCEEDED'), 0)::bigint as done,
           coalesce(sum(refund.amount_paisa) filter (where refund.status <> 'REJECTED'), 0)::bigint
               as refunding
    from charges as charge
    join attempts as attempt on attempt.id = charge.attempt_id
    left join allocations as allocation on allocation.charge_id = charge.id
    left join refunds as refund on refund.charge_id = charge.id
    where charge.provider = 'esewa'
    group by charge.id, attempt.id
"""
NO_TRUTH: Final = "the gateway's own record was not given"


@promise(
    "MON-3",
    kind="Q",
    says="We know exactly the money the gateway knows: charges = the gateway's own record, both ways "
    "(of one under review for its amount: that it was paid)",
    needs=("payments",),
)
async def the_gateway_agrees(world: World) -> Finding:
    if world.truth is None:
        return Finding(0, skipped=NO_TRUTH)
    found = Found()
    paid = {one.txn_id: one.amount_paisa for one in world.truth if one.paid}
    theirs = Counter((one.txn_id, one.amount_paisa) for one in world.truth if one.paid)
    ours = Counter(_as_known(row, paid) for row in await world.rows("payments", OUR_MONEY))
    for txn_id, paisa in (theirs - ours).elements():
        found.add("paid at the gateway, not charged here", txn_id, f"{paisa} paisa")
    for txn_id, paisa in (ours - theirs).elements():
        found.add("charged here, not paid at the gateway", txn_id, f"{paisa} paisa")
    return found.finding(theirs.total())


def _as_known(charge: Any, paid: Mapping[str, int]) -> tuple[str, int]:  # noqa: ANN401 - a database row
    """What we hold as paid; the amount of a MISMATCH is what the gateway said once, and in doubt."""
    txn_id, said_paisa = charge["provider_txn_id"], charge["amount_paisa"]
    return txn_id, paid.get(txn_id, said_paisa) if charge["kind"] == "MISMATCH" else said_paisa


ORDER_TOTALS: Final = """
    select orders.order_id, orders.method, orders.total_paisa, checkouts.total_paisa as checkout_paisa,
           (select coalesce(sum(net_paisa + delivery_paisa), 0)::bigint
            from order_items where order_items.order_id = orders.order_id) as items_paisa
    from orders left join checkouts using (order_id)
"""
INTENT_TOTALS: Final = """
    select intent.subject_id, intent.amount_paisa, charge.amount_paisa as charged_paisa
    from intents as intent
    left join allocations as allocation
        on allocation.subject_id = intent.subject_id and allocation.kind in ('APPLIED', 'LATE')
    left join charges as charge on charge.id = allocation.charge_id
"""


@promise(
    "MON-4",
    kind="A",
    says="All totals agree: items with delivery = order = checkout = intent = applied charge",
    needs=("orders", "payments"),
)
async def totals_agree(world: World) -> Finding:
    found = Found()
    asked = {row["subject_id"]: row for row in await world.rows("payments", INTENT_TOTALS)}
    for subject_id, intent in asked.items():
        if intent["charged_paisa"] not in (None, intent["amount_paisa"]):
            found.add("charge applied to an intent of another amount", subject_id)
    orders = await world.rows("orders", ORDER_TOTALS)
    for order in orders:
        totals = {"items": order["items_paisa"], "checkout": order["checkout_paisa"]}
        if (intent := asked.get(order["order_id"])) is not None:
            totals["intent"] = intent["amount_paisa"]
        for what in [what for what, paisa in totals.items() if paisa != order["total_paisa"]]:
            found.add(f"order total is not that of its {what}", order["order_id"])
    return found.finding(len(orders))


OVER_REFUNDED: Final = """
    select charge.id from charges as charge join refunds as refund on refund.charge_id = charge.id
    where refund.status <> 'REJECTED'
    group by charge.id having sum(refund.amount_paisa) > charge.amount_paisa
"""
MISPLACED_REFUNDS: Final = """
    select refund.id
    from refunds as refund
    left join charges as charge on charge.id = refund.charge_id
    left join attempts as attempt on attempt.id = charge.attempt_id
    where refund.subject_id is distinct from attempt.subject_id
"""
COUNT_REFUNDS: Final = "select count(*) from refunds"


@promise(
    "MON-5",
    kind="Q",
    says="Never refund more than was paid, never what the gateway did not give back",
    needs=("payments",),
)
async def never_refund_too_much(world: World) -> Finding:
    found = Found()
    for (charge_id,) in await world.rows("payments", OVER_REFUNDED):
        found.add("charge refunded above its amount", charge_id)
    for (refund_id,) in await world.rows("payments", MISPLACED_REFUNDS):
        found.add("refund of another subject's charge", refund_id)
    if world.truth is not None:
        given = {one.reference: one.refunded_paisa for one in world.truth}
        for row in await world.rows("payments", OUR_MONEY):
            _compare_refunds(found, row, given.get(row["reference"], 0))
    ((refunds,),) = await world.rows("payments", COUNT_REFUNDS)
    return found.finding(refunds, "" if world.truth is not None else NO_TRUTH)


def _compare_refunds(found: Found, ours: Any, theirs_paisa: int) -> None:  # noqa: ANN401 - a database row
    """A person gives money back at the gateway, then tells us: theirs may be ahead by what is asked for."""
    if ours["done"] > theirs_paisa:
        found.add("refund called done that the gateway does not know", ours["id"], f"{ours['done']} paisa")
    if theirs_paisa > ours["refunding"] and ours["status"] != "REVERSED":
        found.add("given back by the gateway without our knowing", ours["id"], f"{theirs_paisa} paisa")


UNPAID_ORDERS: Final = "select order_id, method from orders"
APPLIED: Final = "select subject_id from allocations where kind = 'APPLIED'"


@promise(
    "MON-7",
    kind="Q",
    says="Nothing ships unpaid: every order has its applied charge (cash on delivery: none)",
    needs=("orders", "payments"),
)
async def nothing_ships_unpaid(world: World) -> Finding:
    found = Found()
    applied = {row["subject_id"] for row in await world.rows("payments", APPLIED)}
    orders = await world.rows("orders", UNPAID_ORDERS)
    for order in orders:
        paid = order["order_id"] in applied
        if order["method"] != "cod" and not paid:
            found.add("order without an applied charge", order["order_id"])
        if order["method"] == "cod" and paid:
            found.add("cash order with a charge of a gateway", order["order_id"])
    return found.finding(len(orders))


VERIFIED: Final = """
    select charge.id, charge.amount_paisa, charge.confirmed_at
    from charges as charge join allocations as allocation on allocation.charge_id = charge.id
    where allocation.kind in ('APPLIED', 'LATE')
"""


@promise(
    "MON-8",
    kind="Q",
    says="One fact, told once: one payment.verified per applied or late charge",
    needs=("payments",),
)
async def told_once(world: World) -> Finding:
    found = Found()
    told = Counter(_verified(world))
    charges = await world.rows("payments", VERIFIED)
    for charge in charges:
        times = told.pop((str(charge["id"]), charge["amount_paisa"]), 0)
        if times > 1:
            found.add("verified charge told more than once", charge["id"])
        if times == 0 and world.now - charge["confirmed_at"] < TOPICS_KEPT:
            found.add("verified charge never told", charge["id"])
    for payment_id, paisa in told:
        found.add("told as verified without such a charge", payment_id, f"{paisa} paisa")
    return found.finding(len(charges))


def _verified(world: World) -> Iterable[tuple[str, Any]]:
    return ((str(one.facts[0]), one.facts[1]) for one in world.log.of("payment.verified"))
