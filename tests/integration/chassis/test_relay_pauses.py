"""When a relay whose sends fail tries again: by itself ever later, and at once when the broker is back."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

import pytest

from contracts.topics import PARTITIONS
from services.chassis.db import Database
from services.chassis.murmur2 import partition_of
from services.chassis.publisher import Row, UnavailableError
from services.chassis.relay import Pace, Relay
from tests import conftest
from tests.integration.chassis.telling import BRISK, World, declined, running
from tests.support.waiting import until

PARKED = """
    insert into outbox_parked (id, part, topic, key, key_seq, event_id, subject_kind, payload,
                               created_at, error, next_at)
    values (0, $1, 'payment.declined', $2, 0, gen_random_uuid(), 'order',
            '{}', now(), 'RecordTooLarge: planted', 'infinity')
"""
COUNT = "select count(*) as waiting from outbox_parked where state = 'parked'"


@pytest.fixture
async def world(database: Callable[[str], Awaitable[conftest.Database]]) -> AsyncIterator[World]:
    own = await database("payments")
    db = Database(own.dsn, name="teller", size=4)
    yield World(db, own.dsn, own.admin_dsn, kafka="", prefix="")
    await db.close()


class Flaky:
    """A way to a broker that stands still for some partitions."""

    def __init__(self, *away: int) -> None:
        self.away = set(away)
        self.tried: Counter[int] = Counter()
        self.before: dict[int, dict[int, int]] = {}
        """How often each had been tried when this one was, for the last time."""

    async def publish(self, part: int, rows: Sequence[Row], within_s: float) -> None:  # noqa: ARG002
        self.before[part] = dict(self.tried)
        self.tried[part] += 1
        if part in self.away:
            raise UnavailableError("away")

    async def close(self) -> None:
        pass


def _pace(send_s: float) -> Pace:
    return replace(BRISK, first_pause_s=3600.0, longest_pause_s=3600.0, send_s=send_s)


async def test_the_first_to_get_through_after_an_outage_lets_all_others_try(world: World) -> None:
    keys = _of_parts(0, 1, 2)
    sink = Flaky(0, 1, 2)
    relay = Relay(world.dsn, service="payments", kafka="", sink=sink, pace=_pace(send_s=0.001))
    async with running(relay):
        await world.tell([declined(keys[part]) for part in (0, 1)])
        await until(partial(_has_tried, sink, 0, 1))
        await until(partial(_has_tried, sink, 1, 1))
        sink.away.clear()
        await world.tell([declined(keys[2])])
        await until(world.published, within_s=10)


async def test_a_partition_that_is_away_by_itself_is_not_tried_whenever_another_gets_through(
    world: World,
) -> None:
    keys = _of_parts(0, 2)
    sink = Flaky(0)
    relay = Relay(world.dsn, service="payments", kafka="", sink=sink, pace=_pace(send_s=3600.0))
    async with running(relay):
        await world.tell([declined(keys[2])])
        await until(world.published)
        await world.tell([declined(keys[0])])
        await until(partial(_has_tried, sink, 0, 1))
        for sequence in range(2, 6):
            await world.tell([declined(keys[2])], first=sequence)
            await until(partial(_has_tried, sink, 2, sequence))
    assert sink.tried[0] == 1


async def test_what_is_put_aside_unsent_does_not_say_that_the_broker_is_back(world: World) -> None:
    keys = _of_parts(0, 1, 2)
    await world.admin(PARKED, 1, str(keys[1]))

    def set_aside(count: int) -> Callable[[], Awaitable[bool]]:
        return partial(_is_parked, world, count)

    sink = Flaky(0)
    relay = Relay(world.dsn, service="payments", kafka="", sink=sink, pace=_pace(send_s=3600.0))
    async with running(relay):
        await world.tell([declined(keys[0])])
        await until(partial(_has_tried, sink, 0, 1))
        for sequence in (1, 2):
            await world.tell([declined(keys[1])], first=sequence)
            await until(set_aside(1 + sequence))
        await world.tell([declined(keys[2])])
        await until(partial(_has_tried, sink, 2, 1))
        assert sink.before[2] == {0: 1}, "partition 0 is tried again only after partition 2 got through"
        await until(partial(_has_tried, sink, 0, 2))


async def _has_tried(sink: Flaky, part: int, times: int) -> bool:
    return sink.tried[part] == times


def _of_parts(*parts: int) -> dict[int, UUID]:
    """A key of each of these partitions."""
    found: dict[int, UUID] = {}
    while not found.keys() >= set(parts):
        key = uuid4()
        found[partition_of(str(key).encode(), PARTITIONS)] = key
    return found


async def _is_parked(world: World, count: int) -> bool:
    return [row["waiting"] for row in await world.rows(COUNT)] == [count]
