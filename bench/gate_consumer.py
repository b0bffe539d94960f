"""Torture of the consumer: two owners of the same records, records read again, and some that always fail.

Beside it, on the same deliveries, a consumer that remembers nothing and one that waits where it fails.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
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
TRIES: Final = 3
"""Of the control that would try for ever."""
AGAIN: Final = 0.2
"""How often an owner goes back and reads something again."""

MAKE_EFFECTS: Final = """
    create table effects (
        way text not null, key uuid not null, nr int not null, at bigint generated always as identity
    )
"""
GRANT: Final = "grant select, insert on effects to kb_{service}"
INSERT: Final = "insert into effects (way, key, nr) select $1, * from unnest($2::uuid[], $3::int[])"
READ: Final = "select key, nr from effects where way = $1 order by at"
PARKED: Final = "select count(*) from inbox_parked where state = 'parked' and reason <> 'BEHIND'"


class PoisonError(Exception):
    """What the handler says of a poisoned event."""


@dataclass(frozen=True, slots=True)
class ConsumerTorture:
    """What came of it; keys are held up when they have no poison and did not get all their events."""

    events: int
    wrong: int
    parked: int
    held_up: int
    doubled_without_inbox: int
    held_up_without_parking: int


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
        for own in (_with_inbox, _without_inbox, _without_parking):
            await asyncio.gather(*(own(db, service, story, random.Random(seed)) for seed in (1, 2)))  # noqa: S311
        found, doubled, halted = [
            await _effects(admin, own.__name__) for own in (_with_inbox, _without_inbox, _without_parking)
        ]
        parked = int(await admin.fetchval(PARKED))
    finally:
        await db.close()
        await admin.close()
    wrong = [key for key in found.keys() | story.expected.keys() if found[key] != story.expected[key]]
    again = sum(len(numbers) - len(set(numbers)) for numbers in doubled.values())
    return ConsumerTorture(events, len(wrong), parked, _held_up(story, found), again, _held_up(story, halted))


Effects = defaultdict[UUID, list[int]]


async def _effects(admin: asyncpg.Connection, way: str) -> Effects:
    found: Effects = defaultdict(list)
    for row in await admin.fetch(READ, way):
        found[row["key"]].append(row["nr"])
    return found


def _held_up(story: Story, found: Effects) -> int:
    healthy = {one.event.key for one in story.records} - {key for key, _ in story.poisoned}
    return sum(not set(story.expected[key]) <= set(found[key]) for key in healthy)


def _handler(story: Story, way: str) -> Callable[[Tx, Sequence[PaymentReturned]], Awaitable[Verdicts[Any]]]:
    """Writes down each event as an effect; raises where one of them is poisoned."""

    async def handle(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        names = [(one.subject_id, one.intent_id.int) for one in events]
        if bad := [name for name in names if name in story.poisoned]:
            raise PoisonError(bad)
        await tx.execute(INSERT, way, [key for key, _ in names], [number for _, number in names])
        return Verdicts(tuple(Unchanged() for _ in events))

    return handle


async def _with_inbox(db: Database, service: str, story: Story, dice: random.Random) -> None:
    """One owner: batches of any size in order, now and then from a place it has been at before."""
    handle = _handler(story, _with_inbox.__name__)
    number = consumer_number(service, PaymentReturned.TOPIC)
    hearing = Hearing(db, number, Subscription(PaymentReturned, handle))
    for batch in _batches(story.records, dice):
        await hear(hearing, batch, [])


async def _without_inbox(db: Database, _: str, story: Story, dice: random.Random) -> None:
    """The negative control of gate 7: the same owner remembers nothing, and leaves out what fails."""
    handle = _handler(story, _without_inbox.__name__)
    for batch in _batches(story.records, dice):
        events = _events(batch)
        async with db.transaction() as tx:
            await handle(tx, [one for one in events if (one.key, one.intent_id.int) not in story.poisoned])


async def _without_parking(db: Database, _: str, story: Story, dice: random.Random) -> None:
    """The negative control of gate 10: the same owner tries what fails again and again, and nothing else."""
    handle = _handler(story, _without_parking.__name__)
    for batch in _batches(story.records, dice):
        for _attempt in range(TRIES):
            try:
                async with db.transaction() as tx:
                    await handle(tx, _events(batch))
            except PoisonError:
                continue
            break
        else:
            return


def _events(batch: Sequence[Heard]) -> list[PaymentReturned]:
    return [one.event for one in batch if isinstance(one.event, PaymentReturned)]


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
