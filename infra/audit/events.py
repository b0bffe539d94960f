"""Promises about events: nothing told is lost, invented, reordered or skipped, and everything has a cause."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from infra.audit.promises import Finding, Found, promise
from infra.audit.records import Record
from infra.audit.topics import TOPICS, consumer_number
from infra.audit.world import OUTBOX_KEPT, TOPICS_KEPT, Told, World

COUNTERS: Final = {
    "orders": """
        select order_id, coalesce(orders.seq, checkouts.seq) from checkouts left join orders using (order_id)
    """,
    "inventory": "select order_id, seq from hold_orders",
    "payments": "select subject_id, seq from intents",
}
SKIPPED: Final = "select event_id from outbox_parked where state = 'skipped'"


@promise(
    "EVT-1",
    kind="Q",
    says="Nothing committed is lost: every told event is in its topic, same key and bytes, "
    "and the numbers of a key have no gap",
)
async def nothing_is_lost(world: World) -> Finding:
    found = Found()
    skipped = {row[0] for one in world.databases for row in await world.rows(one, SKIPPED)}
    latest = _latest(world)
    for told in world.told.values():
        record = world.log.first.get(told.id)
        if record is None:
            superseded = latest.get((told.topic, told.key), 0) > told.sequence
            if told.id not in skipped and not superseded:
                found.add("told, but not in its topic", told.id, told.topic, told.key)
        elif record.content != told.content:
            found.add("in its topic otherwise than told", told.id, record.where)
    for service in world.databases:
        await _look_at_numbers(found, world, service)
    return found.finding(len(world.told))


def _latest(world: World) -> dict[tuple[str, str], int]:
    """The highest number of each key on compacted topics: earlier records may be gone."""
    latest: dict[tuple[str, str], int] = {}
    for record in world.log.of(*(name for name, topic in TOPICS.items() if topic.compacted)):
        place = (record.topic, record.key or "")
        latest[place] = max(latest.get(place, 0), record.sequence or 0)
    return latest


async def _look_at_numbers(found: Found, world: World, service: str) -> None:
    """One number per event and key, from 1 to the aggregate's own counter; a missing one was deleted.

    Only of keys born within the time that told rows are kept (a UUIDv7 says when).
    """
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for told in world.told.values():
        if told.service == service:
            numbers[told.key].append(told.sequence)
    if service not in COUNTERS:
        return
    for key, counter in await world.rows(service, COUNTERS[service]):
        if not world.is_older_than(OUTBOX_KEPT, _born_ms(key)):
            seen = sorted(numbers.pop(str(key), []))
            if seen != list(range(1, counter + 1)):
                found.add(f"{service} told {counter} events of this key, its outbox has {len(seen)}", key)


def _born_ms(key: UUID) -> int:
    """When a UUIDv7 was made, Unix milliseconds; other versions do not say."""
    return key.int >> 80 if key.version == 7 else 0  # noqa: PLR2004 - RFC 9562


@promise(
    "EVT-2",
    kind="A",
    says="Nothing is told that did not happen: every record is in the outbox of its topic's owner, once",
)
async def nothing_is_invented(world: World) -> Finding:
    found, examined = Found(), 0
    for record in world.log.all_kept():
        if world.is_older_than(OUTBOX_KEPT, record.at_ms):
            continue
        owner = TOPICS[record.topic].owner if record.topic in TOPICS else None
        if owner is not None and owner not in world.databases:
            continue
        examined += 1
        told = world.told.get(record.id) if record.id else None
        if told is None:
            found.add("record that no outbox has", record.id or record.where, record.where)
        elif (told.service, told.topic) != (owner, record.topic):
            found.add("record told by another service or on another topic", record.id, record.where)
    for told in world.told_twice:
        found.add("event id told more than once", told.id, told.topic)
    return found.finding(examined)


@promise(
    "EVT-3",
    kind="A",
    says="Per key in commit order: numbers rise along a topic, are those told, and are used once",
)
async def in_order_per_key(world: World) -> Finding:
    found = Found()
    last: dict[tuple[str, str | None], Record] = {}
    records = sorted(world.log.first.values(), key=lambda one: (one.topic, one.part, one.offset))
    for record in records:
        before = last.get((record.topic, record.key))
        last[record.topic, record.key] = record
        if before is not None and before.part != record.part:
            found.add("key on two partitions", record.key, before.where, record.where)
        elif before is not None and (before.sequence or 0) >= (record.sequence or 0):
            found.add("number that does not rise", record.id, record.where, record.key)
        told = world.told.get(record.id) if record.id else None
        if told is not None and told.sequence != record.sequence:
            found.add("number other than told", record.id, record.where)
    used = Counter((told.service, told.key, told.sequence) for told in world.told.values())
    for (service, key, sequence), times in used.items():
        if times > 1:
            found.add("number used more than once", service, key, sequence)
    return found.finding(len(records))


@promise("EVT-4", kind="A", says="A copy is a copy: same id, same bytes, key and partition")
async def a_copy_is_a_copy(world: World) -> Finding:
    found = Found()
    for first, other in world.log.differing:
        found.add("same id, but not the same record", first.id, first.where, other.where)
    return found.finding(world.log.records, f"{world.log.copies} copies" if world.log.copies else "")


PARKED: Final = "select topic, part, kafka_offset from inbox_parked"


@promise(
    "EVT-5",
    kind="Q",
    says="Nothing is skipped silently: every record below a committed offset was heard, parked, "
    "or is of a kind of subject its reader ignores",
)
async def nothing_is_skipped(world: World) -> Finding:
    found, examined = Found(), 0
    records = world.log.all_kept()
    for service in world.databases:
        committed = world.committed.get(service, {})
        parked = {tuple(row) for row in await world.rows(service, PARKED)}
        for record in records:
            if record.offset < committed.get((record.topic, record.part), 0):
                examined += 1
                if not _is_accounted_for(world, service, record, parked):
                    found.add(f"passed by {service} without a trace", record.id or "-", record.where)
    return found.finding(examined)


def _is_accounted_for(world: World, service: str, record: Record, parked: set[tuple[Any, ...]]) -> bool:
    if record.subject_kind not in ("", "order") or record.topic not in TOPICS:
        return True
    heard = world.inbox.get((service, consumer_number(service, record.topic)), set())
    return record.id in heard or (record.topic, record.part, record.offset) in parked


HEARD_TWICE: Final = """
    select consumer || ' ' || event_id from inbox group by consumer, event_id having count(*) > 1
"""
CAUSED_TWICE: Final = """
    select 'checkout ' || order_id || ' ' || cause from checkout_history
    where cause is not null group by order_id, cause having count(*) > 1
    union all
    select 'order ' || order_id || ' ' || cause from order_history
    where cause is not null group by order_id, cause having count(*) > 1
    union all
    select 'item ' || item_id || ' ' || cause from item_history
    where cause is not null group by item_id, cause having count(*) > 1
"""
MAY_COME_TOGETHER: Final = frozenset({"payment.held"})
"""One cause may close several cases of one subject, each told."""


@promise(
    "EVT-6",
    kind="A",
    says="Effects once: each event is heard once by each reader, and moves or tells one thing once",
)
async def effects_once(world: World) -> Finding:
    found = Found()
    for service in world.databases:
        for (pair,) in await world.rows(service, HEARD_TWICE):
            found.add(f"heard twice by {service}", pair)
    if "orders" in world.databases:
        for (what,) in await world.rows("orders", CAUSED_TWICE):
            found.add("history with two steps of one cause", what)
    effects = Counter(_effects(world.told.values()))
    for effect, times in effects.items():
        if times > 1:
            found.add("told twice for one cause", *effect)
    return found.finding(sum(map(len, world.inbox.values())))


def _effects(told: Iterable[Told]) -> Iterable[tuple[str, str, UUID]]:
    return (
        (one.topic, one.key, one.causation)
        for one in told
        if one.causation is not None and one.topic not in MAY_COME_TOGETHER
    )


CAUSES: Final = """
    select order_id, cause from checkout_history where cause is not null
    union all
    select order_id, cause from order_history where cause is not null
    union all
    select order_id, cause from item_history where cause is not null
"""


@promise(
    "EVT-7",
    kind="Q",
    says="Every effect has a cause: known, without a circle, and of the same flow",
)
async def every_effect_has_a_cause(world: World) -> Finding:
    found = Found()
    known = _known(world)
    caused = {key: one for key, one in known.items() if one.causation is not None}
    for key, one in caused.items():
        cause = known.get(one.causation) if one.causation else None
        if cause is None:
            _miss(found, world, one.causation, f"{key} on {one.topic}")
        elif cause.correlation != one.correlation:
            found.add("effect of another flow than its cause", key, one.topic)
    for key in circles({key: one.causation for key, one in caused.items() if one.causation}):
        found.add("effect that causes itself", key)
    steps = await world.rows("orders", CAUSES) if "orders" in world.databases else []
    for order_id, cause in steps:
        if cause not in known:
            _miss(found, world, cause, f"a step of {order_id}")
    return found.finding(len(caused) + len(steps))


def _known(world: World) -> dict[UUID, Record | Told]:
    return {**world.log.first, **world.told}


def _miss(found: Found, world: World, cause: UUID | None, effect: str) -> None:
    """A cause may be older than anything that is kept."""
    if cause is None or not world.is_older_than(TOPICS_KEPT, _born_ms(cause)) or cause.version != 7:  # noqa: PLR2004
        found.add("cause that nobody knows", cause, "of", effect)


def circles(causes: dict[UUID, UUID]) -> list[UUID]:
    """The effects that lie on a circle; each has at most one cause, so every path is walked once."""
    done: set[UUID] = set()
    circles: list[UUID] = []
    for start in causes:
        path: dict[UUID, None] = {}
        at: UUID | None = start
        while at is not None and at not in done and at not in path:
            path[at] = None
            at = causes.get(at)
        if at in path:
            steps = list(path)
            circles += steps[steps.index(at) :]
        done.update(path)  # not `|=`, which copies the whole set for a view of keys
    return circles


SET_ASIDE: Final = """
    select parked.id, parked.consumer, parked.topic, parked.key, parked.event_id, parked.state, parked.reason,
           block.key is not null as blocked
    from inbox_parked as parked left join inbox_block as block using (consumer, key)
"""
BLOCKED_BY_NOTHING: Final = """
    select consumer || ' ' || key from inbox_block
    where not exists (
        select from inbox_parked
        where state = 'parked' and inbox_parked.consumer = inbox_block.consumer
          and inbox_parked.key = inbox_block.key)
"""
NOT_PUBLISHED: Final = """
    select event_id, state, coalesce(trim(reason), '') as reason
    from outbox_parked where state in ('parked', 'retry', 'skipped')
"""


@promise(
    "EVT-8",
    kind="Q",
    says="Parking loses nothing: what was set aside was replayed, or skipped with a reason; "
    "what nobody told may wait for a person",
)
async def parking_loses_nothing(world: World) -> Finding:
    found, examined, waiting = Found(), 0, 0
    for service in world.databases:
        for row in await world.rows(service, SET_ASIDE):
            examined += 1
            if wrong := _wrong_aside(world, service, row):
                found.add(wrong, service, row["topic"], row["key"], row["event_id"] or f"#{row['id']}")
            elif row["state"] == "dead":
                waiting += 1
        for (key,) in await world.rows(service, BLOCKED_BY_NOTHING):
            found.add("key that waits behind nothing", service, key)
        for event_id, state, reason in await world.rows(service, NOT_PUBLISHED):
            if state != "skipped" or not reason:
                found.add("event the broker refused, without an end", service, event_id)
    return found.finding(examined, f"{waiting} wait for a person" if waiting else "")


def _wrong_aside(world: World, service: str, row: Any) -> str:  # noqa: ANN401 - a database row
    heard = world.inbox.get((service, row["consumer"]), set())
    match row["state"]:
        case "parked":
            return "waits to be retried" if row["blocked"] else "waits, and nobody will retry it"
        case "replayed":
            return "" if row["event_id"] in heard else "replayed, but never heard"
        case "skipped":
            return "" if row["reason"].strip() else "skipped without a reason"
        case _:
            return "an event of ours is dead" if row["event_id"] in world.told else ""
