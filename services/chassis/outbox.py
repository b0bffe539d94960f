"""The outbox: facts are told by writing them beside the change they speak of, in the same transaction."""

from collections.abc import Sequence

from contracts.event import NIL
from contracts.topics import PARTITIONS
from services.chassis.db import Tx
from services.chassis.decisions import Outgoing
from services.chassis.ids import new_event_id
from services.chassis.murmur2 import partition_of
from services.chassis.telemetry import creation_context

MAX_PAYLOAD = 900_000
"""Bytes; the table checks it too. A record the broker would refuse must not be written at all."""

APPEND = """
    insert into outbox (part, topic, key, key_seq, event_id, version, subject_kind, payload,
                        correlation_id, causation_id, traceparent)
    select * from unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::smallint[],
                         $7::text[], $8::bytea[], $9::uuid[], $10::uuid[], $11::text[])
"""

TOLD_HERE = "select topic, key from outbox where xid = pg_current_xact_id() order by id limit $1"
MOST_TOLD_HERE = 200


class PayloadTooLargeError(ValueError):
    """An event's body is over `MAX_PAYLOAD`; raised in the business transaction, so nothing is half done."""


async def tell(tx: Tx, outgoing: Sequence[Outgoing]) -> None:
    """Append these facts, in this order. The caller holds the lock of every aggregate concerned (I1)."""
    if not outgoing:
        return
    await tx.execute(APPEND, *zip(*(_row(one) for one in outgoing), strict=True))
    tx.told += len(outgoing)


async def told_here(tx: Tx) -> tuple[tuple[str, str], ...]:
    """The (topic, key) of what this open transaction has told so far, in order, at most 200."""
    rows = await tx.fetch(TOLD_HERE, MOST_TOLD_HERE)
    return tuple((row["topic"], row["key"]) for row in rows)


def _row(one: Outgoing) -> tuple[object, ...]:
    event, sequence, cause = one.event, one.sequence, one.cause
    kind, key_id, event_id = type(event), event.key, new_event_id()
    topic, key = kind.TOPIC, str(key_id)
    # The serialiser behind `model_dump_json`, which would make text of these bytes.
    payload = event.__pydantic_serializer__.to_json(event, exclude_none=True)
    if len(payload) > MAX_PAYLOAD:
        msg = f"{topic} for {key} is {len(payload)} bytes, at most {MAX_PAYLOAD} fit"
        raise PayloadTooLargeError(msg)
    return (
        partition_of(key.encode(), PARTITIONS),
        topic,
        key,
        sequence,
        event_id,
        kind.VERSION,
        kind.SUBJECT_KIND,
        payload,
        None if cause.correlation_id in (NIL, key_id) else cause.correlation_id,
        None if cause.id == NIL else cause.id,
        creation_context(topic, event_id, cause.traceparent) or None,
    )
