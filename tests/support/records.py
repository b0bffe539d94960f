"""Records for tests: what a well-behaved teller would send, and whatever else a stranger may."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from aiokafka import AIOKafkaProducer

from contracts.event import Event
from services.chassis.ids import new_id
from services.chassis.records import Heard, Record, read


@dataclass(frozen=True, slots=True)
class Sent:
    """A record about to be sent to a topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def sent(event: Event, *, sequence: int = 1, event_id: UUID | None = None) -> Sent:
    """The record a service would tell this event with."""
    headers = headers_of(event, sequence, event_id or new_id())
    return Sent(
        event.TOPIC,
        str(event.key).encode(),
        event.model_dump_json(exclude_none=True).encode(),
        tuple((name, value.encode()) for name, value in headers.items()),
    )


def headers_of(event: Event, sequence: int, event_id: UUID) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": str(event_id),
        "ce_source": "/services/test",
        "ce_type": event.type_name(),
        "ce_subject": str(event.key),
        "ce_subjectkind": event.SUBJECT_KIND,
        "ce_sequence": f"{sequence:020d}",
        "ce_correlationid": str(event.key),
    }


def heard(event: Event, *, offset: int = 0, sequence: int = 1, event_id: UUID | None = None) -> Heard:
    """The event as a consumer hears it, without a broker in between."""
    event_id = event_id or new_id()
    value = event.model_dump_json(exclude_none=True).encode()
    record = Record(event.TOPIC, 0, offset, str(event.key), value, headers_of(event, sequence, event_id))
    found = read(record, type(event), event_id.int >> 80)
    assert isinstance(found, Heard), found
    return found


async def send(kafka: str, prefix: str, records: Mapping[int, Sent] | list[Sent]) -> None:
    """Send these records and wait until the broker has them all."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        for one in records.values() if isinstance(records, Mapping) else records:
            await producer.send(f"{prefix}{one.topic}", one.value, key=one.key, headers=list(one.headers))
        await producer.flush()
    finally:
        await producer.stop()
