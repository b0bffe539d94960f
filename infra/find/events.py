"""The events of one key: told in an outbox, standing in a topic, heard in inboxes; joined by their ids."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from contracts.topics import BY_NAME, PARTITIONS, consumer_number
from infra import event_map
from infra.asking import Asking
from infra.databases import SERVICES
from infra.topic_reading import Seen, Topics
from services.chassis.ids import DAY_MS, millis_of
from services.chassis.inbox import slot_of
from services.chassis.murmur2 import partition_of
from services.chassis.rotation import SLOTS

EARLIER_MS: Final = 60_000
"""The first event of an order may carry a time a little before the one in the order's id: clocks differ."""
V7: Final = 7

# Visible in the shard's snapshot, or further back in the page that is being caught up: it has been published.
TOLD: Final = """
    select event_id, topic, outbox.part, key_seq, causation_id, traceparent, payload, created_at,
           pg_visible_in_snapshot(xid, snap) or coalesce(
               pg_visible_in_snapshot(xid, page_to) and id <= page_after, false) as published
    from outbox left join outbox_shard as shard on shard.part = outbox.part
    where slot = any($2::smallint[]) and key = $1
    order by xid, id
"""
HEARD: Final = """
    select consumer, event_id from inbox
    where slot = any($1::smallint[]) and consumer = any($2::smallint[]) and event_id = any($3::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `offset` is None while nobody found it in its topic."""

    id: UUID
    topic: str
    part: int
    at: datetime
    sequence: int
    causation: UUID | None
    traceparent: str
    body: bytes
    published: bool
    offset: int | None = None
    copies: int = 0
    heard_by: frozenset[str] = field(default_factory=frozenset)

    @property
    def owner(self) -> str:
        known = BY_NAME.get(self.topic)
        return known.owner if known else "?"

    @property
    def where(self) -> str:
        place = "not in the topic" if self.offset is None else f"@{self.offset}"
        return f"{self.topic}[{self.part}]{place if self.offset is not None else ' ' + place}"

    @property
    def unheard_by(self) -> tuple[str, ...]:
        return tuple(one for one in hearers(self.topic) if one not in self.heard_by)


@cache
def hearers(topic: str) -> tuple[str, ...]:
    """The services that hear this topic and write down what they have heard."""
    return tuple(one for one in event_map.heard_by(topic) if one in SERVICES)


def partition(key: str) -> int:
    return partition_of(key.encode(), PARTITIONS)


async def told_of(asked: Asking, key: str, order_id: UUID | None) -> list[Event]:
    """What the outboxes still have of this key; they keep three days and more."""
    slots = _slots_since(order_id)
    return [_told(row) for service in asked.sessions for row in await asked.rows(service, TOLD, key, slots)]


def _slots_since(order_id: UUID | None) -> list[int]:
    """The leaves that can hold events of an order of that age; all, when its age is not known."""
    if order_id is None or order_id.version != V7:
        return list(range(SLOTS))
    first = millis_of(order_id) // DAY_MS
    today = int(datetime.now(UTC).timestamp() * 1000) // DAY_MS + 1
    return sorted({day % SLOTS for day in range(max(first - 1, today - SLOTS), today + 1)})


def _told(row: Any) -> Event:  # noqa: ANN401 - a database row
    return Event(
        id=row["event_id"],
        topic=row["topic"],
        part=row["part"],
        at=row["created_at"],
        sequence=row["key_seq"],
        causation=row["causation_id"],
        traceparent=row["traceparent"] or "",
        body=row["payload"],
        published=bool(row["published"]),
    )


async def with_places(
    told: Iterable[Event], topics: Topics, key: str, order_id: UUID | None, within_s: float
) -> tuple[list[Event], bool]:
    """The same events with their places, and those of the topics that no outbox has any more."""
    known, wanted = {event.id: event for event in told}, key.encode()
    found, complete = await topics.read(
        topics.chosen(topics.partitions, partition(key)),
        _begins_ms(order_id, known.values()),
        wanted=lambda raw: raw.key == wanted,
        within_s=within_s,
    )
    for one in found:
        if one.id is not None:
            known[one.id] = _placed(known.get(one.id), one, one.id)
    return list(known.values()), complete


def _begins_ms(order_id: UUID | None, told: Iterable[Event]) -> int:
    """Nothing of an order is older than its id; of any other key, what the outboxes have tells."""
    if order_id is not None and order_id.version == V7:
        return millis_of(order_id) - EARLIER_MS
    oldest = min((event.at for event in told), default=datetime.now(UTC) - timedelta(days=1))
    return int(oldest.timestamp() * 1000) - EARLIER_MS


def _placed(known: Event | None, seen: Seen, event_id: UUID) -> Event:
    """Copies of one id stand in a topic more than once; the first is the one that counts."""
    if known is not None and known.offset is not None:
        return replace(known, copies=known.copies + 1)
    event = known or _read(seen, event_id)
    return replace(event, offset=seen.record.offset, part=seen.record.partition, published=True)


def _read(seen: Seen, event_id: UUID) -> Event:
    headers = seen.record.headers
    return Event(
        id=event_id,
        topic=seen.record.topic,
        part=seen.record.partition,
        at=seen.at,
        sequence=seen.sequence or 0,
        causation=_uuid(headers.get("ce_causationid", "")),
        traceparent=headers.get("traceparent", ""),
        body=seen.record.value or b"",
        published=True,
    )


async def heard_of(asked: Asking, events: list[Event]) -> list[Event]:
    """Each event with the services whose inbox has it; in the order in which they were told."""
    if not events:
        return []
    slots, ids = sorted({slot_of(event.id) for event in events}), [event.id for event in events]
    heard: dict[UUID, set[str]] = {}
    for service in asked.sessions:
        numbers = {consumer_number(service, topic): topic for topic in BY_NAME}
        for row in await asked.rows(service, HEARD, slots, list(numbers), ids):
            heard.setdefault(row["event_id"], set()).add(service)
    known = [replace(event, heard_by=frozenset(heard.get(event.id, ()))) for event in events]
    return sorted(known, key=lambda event: (event.at, event.owner, event.sequence))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
