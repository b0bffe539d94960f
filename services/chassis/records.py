"""Records as they arrive: any bytes become an event or a named reason why not; nothing here can raise."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as PgUUID  # noqa: N811 - its name there
from pydantic import ValidationError

from contracts.event import NIL, Envelope, Event
from services.chassis.ids import DAY_MS, millis_of

RING_DAYS = 36
"""Older ids may be forgotten already (40 slots, emptied two days ahead): they are parked instead."""

SEQUENCE_DIGITS = 20
MAX_SEQUENCE = 2**63 - 1
"""What a column can hold: a record beyond it could neither be handled nor parked, and would hold up all."""


class Record(NamedTuple):
    """One Kafka record; `topic` without the installation's prefix, headers as text."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None
    headers: Mapping[str, str]


class Heard(NamedTuple):
    """A record that could be read."""

    record: Record
    event: Event
    event_id: UUID

    @property
    def key(self) -> str:
        """The record's key: what waits together when one of it fails."""
        return self.record.key

    def seen_as(self, traceparent: str) -> "Heard":
        """The same, its effects continuing the given trace context."""
        self.event.within(self.event.envelope._replace(traceparent=traceparent))
        return self


class Malformed(NamedTuple):
    """A record that cannot be read: a stable reason, and what exactly (never the body itself)."""

    record: Record
    reason: str
    detail: str


class Foreign(NamedTuple):
    """A record about another kind of subject: none of this service's business."""

    record: Record


def record_of(raw: Any, prefix: str) -> Record:  # noqa: ANN401 - aiokafka's ConsumerRecord, and its test doubles
    """A Kafka client's record in our terms; bytes that are not UTF-8 are shown as they can be."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in raw.headers}
    key = (raw.key or b"").decode("utf-8", "replace")
    return Record(raw.topic.removeprefix(prefix), raw.partition, raw.offset, key, raw.value, headers)


def read(record: Record, event_class: type[Event], now_ms: int) -> Heard | Malformed | Foreign:
    """The event in this record, or why there is none. `now_ms`: Unix time in milliseconds."""
    kind = record.headers.get("ce_subjectkind", event_class.SUBJECT_KIND)
    if kind != event_class.SUBJECT_KIND:
        return Foreign(record)
    event_id = _uuid7(record.headers.get("ce_id", ""))
    if (problem := _wrong_envelope(record, event_class, event_id, now_ms)) or event_id is None:
        return Malformed(record, *(problem or ("INVALID_ENVELOPE", "ce_id is not a UUIDv7")))
    if record.value is None:
        return Malformed(record, "NULL_VALUE", "a tombstone on a topic that has none")
    try:
        event = event_class.__pydantic_validator__.validate_json(record.value)
    except ValidationError as error:
        return Malformed(record, "INVALID_BODY", _summary(error))
    if str(event.key) != record.key:
        return Malformed(record, "KEY_MISMATCH", f"the body's {event_class.KEYED_BY} is not the record's key")
    return Heard(record, event.within(_envelope_of(record, event, event_id)), event_id)


def _wrong_envelope(
    record: Record, event_class: type[Event], event_id: UUID | None, now_ms: int
) -> tuple[str, str] | None:
    """The reason and the detail, if the headers are not ours to understand."""
    headers = record.headers
    if event_id is None:
        return "INVALID_ENVELOPE", "ce_id is not a UUIDv7"
    if headers.get("ce_type") != event_class.type_name():
        return "UNKNOWN_TYPE", f"ce_type is not {event_class.type_name()}"
    if not _is_sequence(headers.get("ce_sequence", "")):
        return "INVALID_ENVELOPE", "ce_sequence is not a number"
    if not -DAY_MS <= now_ms - millis_of(event_id) <= RING_DAYS * DAY_MS:
        return "OUTSIDE_RING", "ce_id is too old to know whether it was heard, or from the future"
    return None


def _is_sequence(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= SEQUENCE_DIGITS and int(text) <= MAX_SEQUENCE


def _envelope_of(record: Record, event: Event, event_id: UUID) -> Envelope:
    headers = record.headers
    flow = headers.get("ce_correlationid", "")
    correlation = event.key if flow == record.key else _uuid(flow) or NIL
    return Envelope(event_id, int(headers["ce_sequence"]), correlation, headers.get("traceparent", ""))


def _uuid(text: str) -> UUID | None:
    try:
        return PgUUID(text)  # a UUID that is parsed eight times quicker
    except ValueError:
        return None


def _uuid7(text: str) -> UUID | None:
    value = _uuid(text)
    return value if value is not None and value.version == 7 else None  # noqa: PLR2004 - RFC 9562


def _summary(error: ValidationError) -> str:
    """Where and what, without the values: they may be personal."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    return "; ".join(f"{'/'.join(map(str, one['loc'])) or '(body)'}: {one['type']}" for one in found)
