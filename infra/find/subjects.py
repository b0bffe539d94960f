"""From any id to the order it belongs to: each service is asked whether it knows it, and as what."""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from contracts.topics import BY_NAME
from infra.asking import Asking
from infra.topic_reading import Topics
from services.chassis.ids import millis_of
from services.chassis.rotation import DAY_S, SLOTS

MOST_SUBJECTS: Final = 5
READ_WITHIN_S: Final = 20.0
AROUND_MS: Final = 60_000
UUID_VERSION_OF_OURS: Final = 7
HEX: Final = re.compile(r"[0-9a-f]{32}")
RECORD: Final = re.compile(r"([a-z]+)\.(in|out)\.(\d{1,18})")

# In the order in which they are asked; `key` is the order's (or the booking's) id as text.
BY_UUID: Final = {
    "orders": (
        ("order", "select order_id::text as key from checkouts where order_id = $1"),
        ("order item", "select order_id::text as key from order_items where id = $1"),
        (
            "customer",
            """select order_id::text as key from checkouts
               where customer_id = $1 order by order_id desc limit 5""",
        ),
    ),
    "payments": (
        ("order", "select subject_id::text as key from intents where subject_id = $1"),
        ("payment attempt", "select subject_id::text as key from attempts where id = $1"),
        (
            "charge",
            """select subject_id::text as key from charges join attempts on attempts.id = attempt_id
               where charges.id = $1""",
        ),
        ("refund", "select subject_id::text as key from refunds where id = $1"),
        ("review case", "select subject_id::text as key from review_cases where id = $1"),
        ("order item", "select subject_id::text as key from payment_items where id = $1"),
    ),
    "inventory": (("order", "select order_id::text as key from hold_orders where order_id = $1"),),
}
BY_HEX: Final = {
    "payments": (
        (
            "gateway reference",
            """select subject_id::text as key from attempts
               where provider in ('esewa', 'khalti') and reference = $1""",
        ),
        (
            "trace",
            "select subject_id::text as key from intents where substr(traceparent, 4, 32) = $1 limit 5",
        ),
    ),
    "orders": (
        ("trace", "select distinct order_id::text as key from checkout_history where trace_id = $1 limit 5"),
        ("trace", "select distinct order_id::text as key from order_history where trace_id = $1 limit 5"),
        ("trace", "select distinct order_id::text as key from item_history where trace_id = $1 limit 5"),
    ),
}
BY_TEXT: Final = {
    "orders": (("order number", "select order_id::text as key from orders where order_number = upper($1)"),),
    "payments": (
        (
            "transaction of the payment gateway",
            """select subject_id::text as key from charges join attempts on attempts.id = attempt_id
               where provider_txn_id = $1 limit 5""",
        ),
        ("proof of a refund", "select subject_id::text as key from refunds where evidence_ref = $1 limit 5"),
    ),
}
TOLD: Final = "select key from outbox where slot = any($2::smallint[]) and event_id = $1 limit 1"
PARKED: Final = "select key from inbox_parked where event_id = $1 limit 1"
REFUSED: Final = "select key from outbox_parked where event_id = $1 limit 1"
SET_ASIDE: Final = {
    "in": "select key from inbox_parked where id = $1",
    "out": "select key from outbox_parked where id = $1",
}
TRACED: Final = "select distinct key from outbox where substr(traceparent, 4, 32) = $1 limit 5"


@dataclass(frozen=True, slots=True)
class Known:
    """What the id turned out to be, and whose stories it leads to."""

    kind: str
    keys: tuple[str, ...]


async def look_up(text: str, asked: Asking, topics: Topics | None) -> Known | None:
    """The first service that knows this id; None when nobody who could be asked does."""
    plain = text.strip()
    if record := RECORD.fullmatch(plain):
        return await _record(asked, record[1], record[2], int(record[3]))
    compact = plain.lower().replace("-", "")
    if not HEX.fullmatch(compact):
        return await _first(asked, BY_TEXT, plain)
    return (
        await _first(asked, BY_UUID, UUID(compact))
        or await _first(asked, BY_HEX, compact)
        or await _event(asked, topics, UUID(compact))
        or await _trace(asked, compact)
    )


async def _first(
    asked: Asking, ways: dict[str, tuple[tuple[str, str], ...]], value: UUID | str
) -> Known | None:
    for service, questions in ways.items():
        for kind, question in questions:
            if rows := await asked.rows(service, question, value):
                return Known(kind, tuple(row["key"] for row in rows))
    return None


async def _record(asked: Asking, service: str, side: str, number: int) -> Known | None:
    """What was set aside, by the name that `kb parked` has for it."""
    row = await asked.row(service, SET_ASIDE[side], number)
    return Known("parked record", (row["key"],)) if row else None


async def _event(asked: Asking, topics: Topics | None, event_id: UUID) -> Known | None:
    if event_id.version != UUID_VERSION_OF_OURS:
        return None
    for service in asked.sessions:
        for question, more in ((TOLD, (_slots_around(event_id),)), (PARKED, ()), (REFUSED, ())):
            if row := await asked.row(service, question, event_id, *more):
                return Known("event", (row["key"],))
    return await _in_topics(asked, topics, event_id) if topics else None


def _slots_around(event_id: UUID) -> list[int]:
    """The leaves of the outbox in which this id can be: its day's, or the next one's just after midnight."""
    day = millis_of(event_id) // (DAY_S * 1000)
    return [day % SLOTS, (day + 1) % SLOTS, (day - 1) % SLOTS]


async def _in_topics(asked: Asking, topics: Topics, event_id: UUID) -> Known | None:
    """An event older than the outboxes keep them: its id says when it was told, so only that time is read."""
    wanted, told_ms = str(event_id).encode(), millis_of(event_id)

    def is_it(raw: object) -> bool:
        return ("ce_id", wanted) in raw.headers  # type: ignore[attr-defined]

    found, complete = await topics.read(
        topics.chosen(BY_NAME),
        told_ms - AROUND_MS,
        until_ms=told_ms + AROUND_MS,
        wanted=is_it,
        within_s=READ_WITHIN_S,
    )
    if not complete and not found:
        asked.silent["kafka"] = f"was read for {READ_WITHIN_S:g} s and not to the end"
    return Known("event", (found[0].record.key,)) if found else None


async def _trace(asked: Asking, trace_id: str) -> Known | None:
    """Nothing is indexed by trace: asked last, and within the time any statement has."""
    keys: set[str] = set()
    for service in asked.sessions:
        keys |= {row["key"] for row in await asked.rows(service, TRACED, trace_id)}
    return Known("trace", tuple(sorted(keys))[:MOST_SUBJECTS]) if keys else None
