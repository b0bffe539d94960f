"""What goes wrong in a database, planted; where the doctor must find it, and in which words."""

from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Fault:
    """Statements that plant it in one service's database, and the check that must say so."""

    service: str
    statement: str
    check: str
    says: str


def fault(what: str, service: str, check: str, says: str, statement: str) -> Any:  # noqa: ANN401 - pytest's
    return pytest.param(Fault(service, statement, check, says), id=what)


UNPUBLISHED = """
    insert into outbox (part, topic, key, key_seq, event_id, version, subject_kind, payload, created_at)
    select part, topic, key, 99, '{event_id}', version, subject_kind, payload,
           now() - interval '10 minutes'
    from outbox where key = {key} and topic = '{topic}' limit 1
"""
SET_ASIDE = """
    insert into inbox_parked (consumer, topic, part, kafka_offset, key, event_id, headers, state, reason,
                              error)
    values ({consumer}, '{topic}', 3, 41, '{key}', '{event_id}', '{{}}', '{state}', '{reason}', '{error}')
"""
REFUSED = """
    insert into outbox_parked (id, part, topic, key, key_seq, event_id, version, subject_kind, payload,
                               created_at, error)
    select id, part, topic, key, key_seq, event_id, version, subject_kind, payload, created_at,
           'MessageSizeTooLargeError: planted'
    from outbox where topic = '{topic}' order by id limit 1
"""
SOME_ID = "01890000-0000-7000-8000-000000000001"

FAULTS = [
    fault(
        "a migration was not applied",
        "orders",
        "schemas",
        "orders/0001_orders: not applied",
        "delete from schema_migrations where name = 'orders/0001_orders'",
    ),
    fault(
        "a migration is of another release",
        "payments",
        "schemas",
        "applied as 0123456789ab",
        "update schema_migrations set checksum = repeat('0123456789ab', 5) where name like 'payments/%'",
    ),
    fault(
        "events do not leave",
        "orders",
        "outboxes",
        "1 events of orders are not published, the oldest for 6",
        UNPUBLISHED.format(key="(select key from outbox limit 1)", topic="order.placed", event_id=SOME_ID),
    ),
    fault(
        "the cursors are of another server",
        "inventory",
        "relays",
        "the relay's cursors of inventory are of another server's transactions: [3]",
        "update outbox_shard set snap = '900000000000:900000000000:' where part = 3",
    ),
    fault(
        "nobody publishes two partitions",
        "payments",
        "relays",
        "nobody publishes partitions [4, 7] of payments",
        """update outbox_shard set owner = 'a/1', epoch = epoch + 1, lease_until = now() + interval '1 hour'
           where part not in (4, 7)""",
    ),
    fault(
        "a key waits for a retry",
        "orders",
        "parked",
        "orders has set aside 1 records of payment.verified (parked, BOOM), the oldest",
        SET_ASIDE.format(
            consumer=1033,
            topic="payment.verified",
            key=SOME_ID,
            event_id=SOME_ID,
            state="parked",
            reason="BOOM",
            error="planted",
        ),
    ),
    fault(
        "a record is dead",
        "inventory",
        "parked",
        "inventory has set aside 1 records of order.placed (dead, INVALID_BODY), the oldest",
        SET_ASIDE.format(
            consumer=2001,
            topic="order.placed",
            key=SOME_ID,
            event_id=SOME_ID,
            state="dead",
            reason="INVALID_BODY",
            error="planted",
        ),
    ),
    fault(
        "the broker refuses a record",
        "payments",
        "parked",
        "the broker refuses 1 records of payment.opened of payments",
        REFUSED.format(topic="payment.opened"),
    ),
    fault(
        "a duty fails",
        "payments",
        "reconcilers",
        "planted",
        """update reconciler_runs set last_success_at = now() - interval '1 hour', last_error = 'planted'
           where name = 'close_windows'""",
    ),
    fault(
        "a duty never ran",
        "orders",
        "reconcilers",
        "repair_rollups of orders never ran",
        "delete from reconciler_runs where name = 'repair_rollups'",
    ),
    fault(
        "checkouts are stuck in a stage",
        "orders",
        "work",
        "1 checkouts are `awaiting_payment` for longer than that may take",
        """update checkouts set since = now() - interval '1 day'
           where order_id = (select order_id from checkouts where stage = 'awaiting_payment' limit 1)""",
    ),
    fault(
        "a payment has no order",
        "payments",
        "work",
        "1 payments are proven, and orders has answered with no order",
        """update intents set answer = null, answered_at = null, verified_at = now() - interval '1 hour'
           where subject_id = (select subject_id from intents where answer = 'finalized' limit 1)""",
    ),
    fault(
        "nobody sends a refund",
        "payments",
        "work",
        "1 refunds wait for a person",
        """update refunds set requested_at = now() - interval '2 days'
           where id = (select id from refunds where status = 'MANUAL_PENDING' limit 1)""",
    ),
    fault(
        "stock is held for ever",
        "inventory",
        "work",
        "1 holds keep stock for longer than any checkout takes",
        """update holds set opened_at = now() - interval '1 day'
           where order_id = (select order_id from holds where status = 'held' limit 1) and status = 'held'""",
    ),
]
