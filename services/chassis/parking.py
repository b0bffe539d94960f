"""Parking: a record that fails is set aside, visibly, in the transaction that decides so; its key waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from prometheus_client import Counter

from services.chassis.db import Tx
from services.chassis.records import Heard, Malformed, Record

PARKED = Counter("kb_records_parked_total", "Records set aside.", ["topic", "state", "reason"])
Labels: TypeAlias = tuple[str, str, str]
BEHIND = "BEHIND"
"""The reason of a record that did not fail itself: its key was blocked when it came."""
NEVER = "NEVER"
"""The reason of an event that cannot happen unless one of us is wrong."""

# A malformed record has no inbox row that would make it once, so its place in the topic does. The place alone
# would not do for events: in a topic that was made anew, another one may stand there.
PARK = """
    insert into inbox_parked (consumer, topic, part, kafka_offset, key, key_seq, event_id, payload, headers,
                              state, reason, error)
    select $1, * from unnest($2::text[], $3::int[], $4::bigint[], $5::text[], $6::bigint[], $7::uuid[],
                             $8::bytea[], $9::jsonb[], $10::text[], $11::text[], $12::text[])
    on conflict (consumer, topic, part, kafka_offset, event_id) do nothing
    returning topic, state, reason
"""

# A key that is blocked already is locked by the update: a retrier that is about to release it is waited for,
# and the key is blocked anew behind it. With "do nothing" the record would wait for ever in a free key.
BLOCK = """
    insert into inbox_block (consumer, key, next_at)
    select $1, key, now() + make_interval(secs => 0.5 + random() / 2)
    from unnest($2::text[]) as failing (key) order by key
    on conflict (consumer, key) do update set since = inbox_block.since
"""


@dataclass(frozen=True, slots=True)
class Parked:
    """One record to set aside: `parked` makes its key wait for a retry, `dead` waits for a person only."""

    record: Record
    state: Literal["parked", "dead"]
    reason: str
    error: str
    event_id: UUID | None = None
    sequence: int | None = None


def malformed(one: Malformed) -> Parked:
    """A record that cannot be read; it says nothing about its key, so the key goes on."""
    return Parked(one.record, "dead", one.reason, one.detail)


def dead(one: Heard, error: str) -> Parked:
    """An event that can never take effect."""
    return Parked(one.record, "dead", NEVER, error, one.event_id, one.event.envelope.sequence)


def waiting(one: Heard, reason: str, error: str) -> Parked:
    """An event that failed, or that waits behind one of its key that did."""
    return Parked(one.record, "parked", reason, error[:2000], one.event_id, one.event.envelope.sequence)


async def park(tx: Tx, consumer: int, parked: Sequence[Parked]) -> list[Labels]:
    """Set these records aside and block the keys of those that are to be retried.

    Returns what is to be counted once this is committed.
    """
    if not parked:
        return []
    rows = await tx.fetch(PARK, consumer, *zip(*(_row(one) for one in parked), strict=True))
    # Whoever found its key blocked has locked the block FOR SHARE; locking it again could only deadlock.
    failing = [one for one in parked if one.state == "parked" and one.reason != BEHIND]
    keys = sorted({_storable(one.record.key) for one in failing})
    if keys:
        await tx.execute(BLOCK, consumer, keys)
    return [(row["topic"], row["state"], row["reason"]) for row in rows]


def count(parked: Sequence[Labels]) -> None:
    """These records are set aside for good: called after the commit."""
    for labels in parked:
        PARKED.labels(*labels).inc()


def _row(one: Parked) -> tuple[object, ...]:
    record = one.record
    # PostgreSQL's text and jsonb cannot hold U+0000; a stranger's header or key may.
    headers = {_storable(name): _storable(value) for name, value in record.headers.items()}
    place = (record.topic, record.partition, record.offset, _storable(record.key))
    return (
        *place,
        one.sequence,
        one.event_id,
        record.value,
        headers,
        one.state,
        one.reason,
        _storable(one.error),
    )


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
