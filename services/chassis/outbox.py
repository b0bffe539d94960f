"""The outbox: facts are told by writing them beside the change they speak of, in the same transaction."""

from collections.abc import Sequence
from uuid import UUID

from contracts.event import NIL
from contracts.topics import PARTITIONS
from services.chassis.db import Tx
from services.chassis.decisions import Outgoing
from services.chassis.ids import new_id
from services.chassis.murmur2 import partition_of
from services.chassis.telemetry import creation_context

MAX_PAYLOAD = 900_000
"""Bytes; the table checks it too. A record the broker would refuse must not be written at all."""

APPEND = """
    insert into outbox (part, topic, key, key_seq, event_id, event_type, payload, headers)
    select * from unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::text[],
                         $7::bytea[], $8::jsonb[])
"""


class PayloadTooLargeError(ValueError):
    """An event's body is over `MAX_PAYLOAD`; raised in the business transaction, so nothing is half done."""


async def tell(tx: Tx, outgoing: Sequence[Outgoing]) -> None:
    """Append these facts, in this order. The caller holds the lock of every aggregate concerned (I1)."""
    if not outgoing:
        return
    await tx.execute(APPEND, *zip(*(_row(one) for one in outgoing), strict=True))
    tx.told += len(outgoing)


def _row(one: Outgoing) -> tuple[object, ...]:
    event, key, event_id = one.event, str(one.event.key), new_id()
    payload = event.model_dump_json(exclude_none=True).encode()
    if len(payload) > MAX_PAYLOAD:
        msg = f"{event.TOPIC} for {key} is {len(payload)} bytes, at most {MAX_PAYLOAD} fit"
        raise PayloadTooLargeError(msg)
    part = partition_of(key.encode(), PARTITIONS)
    headers = _headers(one, event_id)
    return part, event.TOPIC, key, one.sequence, event_id, event.type_name(), payload, headers


def _headers(one: Outgoing, event_id: UUID) -> dict[str, str]:
    """What the columns do not say already: without a correlation id the flow is the key's own."""
    cause = one.cause
    headers = {"subjectkind": one.event.SUBJECT_KIND}
    if cause.correlation_id not in (NIL, one.event.key):
        headers["correlationid"] = str(cause.correlation_id)
    if cause.id != NIL:
        headers["causationid"] = str(cause.id)
    if traceparent := creation_context(one.event.TOPIC, event_id, cause.traceparent):
        headers["traceparent"] = traceparent
    return headers
