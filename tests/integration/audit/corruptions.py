"""What somebody may do to a database behind everybody's back, and which promises must notice."""

from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Corruption:
    """What somebody did to a database, and the promises that must notice."""

    what: str
    service: str
    statements: tuple[str, ...]
    broken: frozenset[str]
    moving: bool = False


def corruption(what: str, service: str, broken: str, *statements: str, moving: bool = False) -> Any:  # noqa: ANN401
    one = Corruption(what, service, statements, frozenset(broken.split()), moving)
    return pytest.param(one, id=what)


COPY_OF_A_CHARGE = """
    with one as (
        select charges.*, attempts.reference, attempts.subject_id
        from charges join attempts on attempts.id = attempt_id join intents using (subject_id)
        where answer = 'finalized' order by charges.id limit 1
    ), attempt as (
        insert into attempts (id, subject_id, provider, reference, merchant_code, amount_paisa, status,
                              opened_at, expires_at, closes_at)
        select '01890000-0000-7000-8000-000000000001', subject_id, provider, reverse(reference), 'EPAYTEST',
               amount_paisa, 'CONFIRMED', now(), now() + interval '1 h', now() + interval '2 h'
        from one
    ), charge as (
        insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
        select '01890000-0000-7000-8000-000000000002', '01890000-0000-7000-8000-000000000001', provider,
               '0TWICE', amount_paisa
        from one
    )
    insert into allocations (charge_id, subject_id, kind)
    select '01890000-0000-7000-8000-000000000002', subject_id, 'APPLIED' from one
"""
AFTER_THE_END = "cause in ('late', 'order')"
A_CONFIRMED_ORDER = "(select order_id from orders where status = 'confirmed' limit 1)"
A_DELIVERED_ORDER = "(select order_id from orders where status = 'delivered' order by order_id limit 1)"
A_SOLD_HOLD = "(select order_id from holds where status = 'consumed' order by order_id limit 1)"

CORRUPTIONS = [
    corruption(
        "an effect is deleted from the outbox",
        "orders",
        "EVT-1 EVT-2",
        """delete from outbox
           where event_id = (select event_id from outbox where topic = 'item.shipped' limit 1)""",
    ),
    corruption(
        "an event is told and never published",
        "orders",
        "EVT-1",
        f"""insert into outbox (part, topic, key, key_seq, event_id, version, subject_kind, payload)
            select part, topic, key, (select seq + 1 from orders where order_id = key::uuid),
                   gen_random_uuid(), version, subject_kind, payload
            from outbox where key = {A_CONFIRMED_ORDER}::text and topic = 'order.placed'""",
        f"update orders set seq = seq + 1 where order_id = {A_CONFIRMED_ORDER}",
        moving=True,
    ),
    corruption(
        "a charge is doubled",
        "payments",
        "MON-2 MON-3 MON-8",
        "drop index allocations_verified_once",
        COPY_OF_A_CHARGE,
    ),
    corruption(
        "a payment at the gateway is forgotten",
        "payments",
        "MON-1 MON-3 MON-8",
        f"""delete from allocations using refunds
            where refunds.id = allocations.charge_id and {AFTER_THE_END}""",
        f"delete from charges using refunds where refunds.id = charges.id and {AFTER_THE_END}",
        f"delete from refunds where {AFTER_THE_END}",
    ),
    corruption("a refund task is lost", "payments", "MON-1", f"delete from refunds where {AFTER_THE_END}"),
    corruption(
        "one payment too many is kept", "payments", "MON-1", "delete from refunds where cause = 'surplus'"
    ),
    corruption(
        "a payment of another amount is forgotten",
        "payments",
        "MON-1",
        """update review_cases set open = false, resolution = 'none', closed_at = now()
           where reason = 'mismatch'""",
    ),
    corruption(
        "the refund of a cancelled item is lost",
        "payments",
        "MON-1",
        "delete from refunds where cause = 'item'",
    ),
    corruption(
        "a refund is above its charge",
        "payments",
        "MON-1 MON-5",
        f"update refunds set amount_paisa = amount_paisa + 1 where {AFTER_THE_END}",
    ),
    corruption(
        "a refund is called done that the gateway never made",
        "payments",
        "MON-5",
        f"""update refunds set status = 'SUCCEEDED', evidence_ref = 'none', completed_by = gen_random_uuid()
            where {AFTER_THE_END}""",
    ),
    corruption(
        "an order loses its payment",
        "payments",
        "MON-1 MON-7 MON-8",
        """delete from allocations where charge_id =
           (select charge_id from allocations join intents using (subject_id)
            where answer = 'finalized' limit 1)""",
    ),
    corruption(
        "an order's total changes",
        "orders",
        "MON-4",
        f"update orders set total_paisa = total_paisa + 1 where order_id = {A_CONFIRMED_ORDER}",
    ),
    corruption(
        "a paid checkout hangs",
        "orders",
        "MON-1 ORD-3 ORD-6",
        f"update checkouts set stage = 'processing' where order_id = {A_CONFIRMED_ORDER}",
        moving=True,
    ),
    corruption(
        "a movement is lost",
        "inventory",
        "STK-1 STK-4",
        """
        delete from stock_movements where id = (select min(id) from stock_movements where kind = 'sold')""",
    ),
    corruption(
        "reserved is raised",
        "inventory",
        "STK-2",
        "update stock set reserved = reserved + 1 where sku = 'topi'",
    ),
    corruption(
        "more is promised than there is",
        "inventory",
        "STK-2 STK-3",
        "alter table stock drop constraint stock_never_oversold",
        "update stock set reserved = on_hand + 1 where sku = 'topi'",
    ),
    corruption(
        "a hold ends a second time",
        "inventory",
        "STK-4 STK-6",
        f"update holds set status = 'ended' where order_id = {A_SOLD_HOLD}",
    ),
    corruption(
        "a line of a hold is lost",
        "inventory",
        "STK-4 STK-5 STK-6",
        f"""delete from hold_lines where order_id = {A_SOLD_HOLD}
            and sku = (select min(sku) from hold_lines where order_id = {A_SOLD_HOLD})""",
    ),
    corruption(
        "units of a cancelled item do not come back",
        "inventory",
        "STK-6",
        """update stock set on_hand = on_hand - delta from stock_movements
           where kind = 'returned' and stock.sku = stock_movements.sku""",
        "delete from stock_movements where kind = 'returned'",
    ),
    corruption(
        "units stay held for nobody",
        "inventory",
        "STK-2 STK-4 STK-7",
        """update holds set status = 'held', closed_at = null
           where (order_id, hold_no) = (select order_id, hold_no from holds join hold_lines
                  using (order_id, hold_no) where status = 'ended' limit 1)""",
    ),
    corruption(
        "units are held for days",
        "inventory",
        "STK-7",
        "update holds set opened_at = opened_at - interval '1 day' where status = 'held'",
    ),
    corruption(
        "an order is delivered too early",
        "orders",
        "ORD-1 ORD-4 ORD-6",
        f"""update orders set status = 'delivered', delivered_at = now()
            where order_id = {A_CONFIRMED_ORDER}""",
    ),
    corruption(
        "an order is delivered at another time",
        "orders",
        "ORD-4",
        f"""update orders set delivered_at = delivered_at + interval '1 s'
            where order_id = {A_DELIVERED_ORDER}""",
    ),
    corruption(
        "an order loses its items",
        "orders",
        "MON-4 ORD-1 ORD-3 ORD-6 STK-6",
        f"delete from order_items where order_id = {A_CONFIRMED_ORDER}",
    ),
    corruption(
        "an item loses its vendor",
        "orders",
        "ORD-3",
        "alter table order_items alter vendor_id drop not null",
        f"update order_items set vendor_id = null where order_id = {A_CONFIRMED_ORDER} and line = 1",
    ),
    corruption(
        "a step of a history is skipped",
        "orders",
        "ORD-6",
        f"delete from checkout_history where seq = 2 and order_id = {A_DELIVERED_ORDER}",
    ),
    corruption(
        "a step is taken that does not exist",
        "orders",
        "ORD-6",
        "update item_history set old_status = 'pending' where new_status = 'shipped'",
        "delete from item_history where new_status = 'processing'",
        "alter table item_history drop constraint item_history_pkey",
        "update item_history set seq = seq - 1 where new_status in ('shipped', 'delivered', 'cancelled')",
        "update order_items set version = version - 1 where version > 1",
    ),
    corruption(
        "a line of a confirmed checkout is back in the cart",
        "orders",
        "ORD-7",
        f"""insert into cart_lines (user_id, sku, returned_from, quantity)
            select customer_id, 'topi', order_id, 1 from orders where order_id = {A_CONFIRMED_ORDER}""",
    ),
    corruption(
        "an ended checkout keeps its lines",
        "orders",
        "ORD-7",
        "update checkouts set lines_returned = false where stage = 'rejected'",
        """delete from cart_lines
           where returned_from = (select order_id from checkouts where stage = 'rejected')""",
    ),
    corruption(
        "a record is passed without a trace",
        "inventory",
        "EVT-5",
        "delete from inbox where event_id = (select event_id from inbox where consumer = 2001 limit 1)",
    ),
    corruption(
        "an event is heard twice",
        "payments",
        "EVT-6",
        """insert into inbox (slot, consumer, event_id)
           select (slot + 1) % 40, consumer, event_id from inbox limit 1""",
    ),
    corruption(
        "an effect is told twice",
        "inventory",
        "EVT-1 EVT-6",
        """insert into outbox (part, topic, key, key_seq, event_id, version, subject_kind, payload,
                               correlation_id, causation_id)
           select part, topic, key, key_seq + 1, gen_random_uuid(), version, subject_kind, payload,
                  correlation_id, causation_id
           from outbox where topic = 'stock.rejected'""",
        """update hold_orders set seq = seq + 1
           where order_id = (select key::uuid from outbox where topic = 'stock.rejected' limit 1)""",
        moving=True,
    ),
    corruption(
        "an effect loses its cause",
        "inventory",
        "EVT-1 EVT-7",
        """update outbox set causation_id = '9b6a2f4e-0000-4000-8000-000000000009'
           where topic = 'stock.rejected'""",
    ),
    corruption(
        "an effect causes itself",
        "inventory",
        "EVT-1 EVT-7",
        "update outbox set causation_id = event_id where topic = 'stock.rejected'",
    ),
    corruption(
        "a parked event is called replayed and was never heard",
        "orders",
        "EVT-8",
        """insert into inbox_parked (consumer, topic, part, kafka_offset, key, event_id, headers, state,
                                     reason, error)
           values (1033, 'payment.verified', 0, 999, 'k', gen_random_uuid(), '{}', 'replayed', 'NO', '')""",
    ),
    corruption(
        "an event of our own is given up",
        "orders",
        "EVT-8",
        """insert into inbox_parked (consumer, topic, part, kafka_offset, key, event_id, headers, state,
                                     reason, error)
           select 1007, topic, part, 999, key, event_id, '{}', 'dead', 'NEVER', ''
           from outbox where topic = 'item.shipped' limit 1""",
    ),
]
