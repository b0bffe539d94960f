"""Torture of the consumer: two owners of the same records, records read again, and some that always fail."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg

from contracts.payments import PaymentReturned
from contracts.topics import consumer_number
from services.chassis.batch import Hearing, hear
from services.chassis.consumer import Subscription
from services.chassis.db import Database, Tx
from services.chassis.decisions import Unchanged, Verdicts
from services.chassis.ids import new_id
from services.chassis.records import Heard
from tests.support.records import heard

KEYS: Final = 300
POISONED: Final = 0.01
"""The share of events whose handling fails, whenever it is tried."""
LARGEST: Final = 200
AGAIN: Final = 0.2
"""How often an owner goes back and reads something again."""

MAKE_EFFECTS: Final = """
    create table effects (key uuid not null, nr int not null, at bigint generated always as identity)
"""
GRANT: Final = "grant select, insert on effects to kb_{service}"
INSERT: Final = "insert into effects (key, nr) select * from unnest($1::uuid[], $2::int[])"
READ: Final = "select key, nr from effects order by at"
PARKED: Final = "select count(*) from inbox_parked where state = 'parked' and reason <> 'BEHIND'"


class PoisonError(Exception):
    """What the handler says of a poisoned event."""


@dataclass(frozen=True, slots=True)
class ConsumerTorture:
    """What came of it; `held_up` counts keys without poison that did not get all their events."""

    events: int
    wrong: int
    parked: int
    held_up: int
    doubled_without_inbox: int


@dataclass(slots=True)
class Story:
    """All events, in the order of the topic, and which of them can never take effect."""

    records: list[Heard] = field(default_factory=list)
    poisoned: set[tuple[UUID, int]] = field(default_factory=set)
    expected: defaultdict[UUID, list[int]] = field(default_factory=lambda: defaultdict(list))
    """By key: what must have taken effect, everything before the first poisoned event."""


def write_story(events: int, dice: random.Random) -> Story:
    """Events of many keys, each numbered within its key."""
    story, keys, counts = Story(), [new_id() for _ in range(KEYS)], dict[UUID, int]()
    stopped: set[UUID] = set()
    for offset in range(events):
        key = dice.choice(keys)
        number = counts[key] = counts.get(key, 0) + 1
        event = PaymentReturned(
            subject_id=key, intent_id=UUID(int=number), attempt_id=new_id(), provider="esewa"
        )
        story.records.append(heard(event, offset=offset))
        if dice.random() < POISONED:
            story.poisoned.add((key, number))
            stopped.add(key)
        if key not in stopped:
            story.expected[key].append(number)
    return story


async def torture_consumer(dsn: str, admin_dsn: str, service: str, *, events: int) -> ConsumerTorture:
    """Two owners hear the whole story at once, each with steps back; then the tables are judged."""
    admin, db = await asyncpg.connect(admin_dsn), Database(dsn, name="torture", size=8)
    story = write_story(events, random.Random(events))  # noqa: S311 - a story, not a secret
    try:
        await admin.execute(MAKE_EFFECTS)
        await admin.execute(GRANT.format(service=service))
        await asyncio.gather(*(_own(db, service, story, random.Random(seed)) for seed in (1, 2)))  # noqa: S311
        found: defaultdict[UUID, list[int]] = defaultdict(list)
        for row in await admin.fetch(READ):
            found[row["key"]].append(row["nr"])
        parked = int(await admin.fetchval(PARKED))
    finally:
        await db.close()
        await admin.close()
    healthy = {one.event.key for one in story.records} - {key for key, _ in story.poisoned}
    wrong = [key for key in found.keys() | story.expected.keys() if found[key] != story.expected[key]]
    held_up = sum(found[key] != story.expected[key] for key in healthy)
    return ConsumerTorture(events, len(wrong), parked, held_up, _doubled_without_inbox(story))


async def _own(db: Database, service: str, story: Story, dice: random.Random) -> None:
    """One owner: batches of any size in order, now and then from a place it has been at before."""

    async def handle(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        names = [(one.subject_id, one.intent_id.int) for one in events]
        if bad := [name for name in names if name in story.poisoned]:
            raise PoisonError(bad)
        await tx.execute(INSERT, [key for key, _ in names], [number for _, number in names])
        return Verdicts(tuple(Unchanged() for _ in events))

    number = consumer_number(service, PaymentReturned.TOPIC)
    hearing = Hearing(db, number, Subscription(PaymentReturned, handle))
    for batch in _batches(story.records, dice):
        await hear(hearing, batch, [])


def _batches(records: Sequence[Heard], dice: random.Random) -> list[Sequence[Heard]]:
    batches: list[Sequence[Heard]] = []
    place = 0
    while place < len(records):
        size = dice.randint(1, LARGEST)
        batches.append(records[place : place + size])
        place += size
        if dice.random() < AGAIN and place < len(records):
            place = max(0, place - dice.randint(1, 2 * LARGEST))
    return batches


def _doubled_without_inbox(story: Story) -> int:
    """The negative control: how often the same deliveries would have taken effect more than once."""
    deliveries = sum(
        len(batch)
        for seed in (1, 2)
        for batch in _batches(story.records, random.Random(seed))  # noqa: S311
    )
    return deliveries - len(story.records)
