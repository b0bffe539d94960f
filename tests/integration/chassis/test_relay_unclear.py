"""A failure that says nothing: it passes, or one row is at fault; either way the others go on."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest
from aiokafka.errors import NotLeaderForPartitionError, UnknownError

from services.chassis.db import Database
from services.chassis.ids import new_id
from services.chassis.leases import Terms
from services.chassis.murmur2 import partition_of
from services.chassis.publisher import KafkaSink, RefusedError, Row, UnavailableError, UnclearError
from services.chassis.publisher import _raise_failure as raise_failure
from services.chassis.relay import Pace, Relay
from services.chassis.sending import UNCLEAR_TRIES
from tests import conftest
from tests.support.torture.stub_broker import StubBroker, StubSink
from tests.support.torture.writers import TELL
from tests.support.waiting import until

BRISK = Pace(
    busy_poll_s=0.01,
    idle_poll_s=0.02,
    first_pause_s=0.01,
    longest_pause_s=0.02,
    retry_look_s=0.1,
    terms=Terms(lease_s=5.0, renew_s=0.2, save_s=0.05),
)
PARTS = 12
STATES = "select key, state, error from outbox_parked order by id"


class Mumbling(StubSink):
    """Fails without a reason for batches with one of these keys, or for all while `dumb`."""

    def __init__(self, broker: StubBroker, *bad: str) -> None:
        super().__init__(broker)
        self.bad = set(bad)
        self.dumb = False
        self.mumbled = 0
        self.most = sys.maxsize
        """So often it fails at most."""

    async def publish(self, part: int, rows: Sequence[Row], within_s: float) -> None:
        if self.mumbled < self.most and (self.dumb or any(row["key"] in self.bad for row in rows)):
            self.mumbled += 1
            raise UnclearError(rows, "UnknownError: planted")
        await super().publish(part, rows, within_s)


@dataclass
class Outbox:
    """An outbox, and a broker in this process that says what arrived."""

    db: Database
    dsn: str
    broker: StubBroker = field(default_factory=StubBroker)

    async def tell(self, *keys: str, sequence: int = 1, topic: str = "order.placed") -> None:
        parts = [partition_of(key.encode(), PARTS) for key in keys]
        told = TELL.replace("order.placed", topic)
        async with self.db.transaction() as tx:
            await tx.execute(told, parts, list(keys), [sequence] * len(keys), [new_id() for _ in keys])

    async def parked(self) -> list[asyncpg.Record]:
        async with self.db.transaction() as tx:
            return await tx.fetch(STATES)

    @property
    def arrived(self) -> list[tuple[str, int]]:
        """(key, sequence), each once, as it came."""
        return list(dict.fromkeys((fact.key, fact.sequence) for fact in self.broker.log))

    @asynccontextmanager
    async def relayed_by(self, sink: StubSink) -> AsyncIterator[Relay]:
        stopping = asyncio.Event()
        relay = Relay(self.dsn, service="orders", kafka="", pace=BRISK, sink=sink)
        task = asyncio.create_task(relay.run(stopping))
        try:
            yield relay
        finally:
            stopping.set()
            await task


@pytest.fixture
async def outbox(database: Callable[[str], Awaitable[conftest.Database]]) -> AsyncIterator[Outbox]:
    own = await database("orders")
    db = Database(own.dsn, name="teller", size=2)
    yield Outbox(db, own.dsn)
    await db.close()


def beside(count: int, part: int = 7) -> list[str]:
    """Keys of one partition."""
    keys = (f"key-{number}" for number in range(10_000))
    return [key for key in keys if partition_of(key.encode(), PARTS) == part][:count]


@pytest.mark.parametrize("place", [0, 2, 4])
async def test_the_one_row_at_fault_is_parked_and_its_neighbours_go_on_in_order(
    outbox: Outbox, place: int
) -> None:
    keys = beside(5)
    for sequence in (1, 2):
        await outbox.tell(*keys, sequence=sequence)
    sink = Mumbling(outbox.broker, keys[place])
    free = [key for key in keys if key != keys[place]]
    async with outbox.relayed_by(sink):
        await until(lambda: _is(outbox, [(keys[place], "parked")] * 2))
        await until(lambda: _true(len(outbox.arrived) >= 8))
        assert sink.mumbled > UNCLEAR_TRIES
    for key in free:
        assert [number for one, number in outbox.arrived if one == key] == [1, 2]
    assert (await outbox.parked())[0]["error"] == "UnknownError: planted"


async def test_a_broker_that_takes_nothing_is_waited_for_and_no_row_is_blamed(outbox: Outbox) -> None:
    keys = beside(4)
    await outbox.tell(*keys)
    sink = Mumbling(outbox.broker)
    sink.dumb = True
    async with outbox.relayed_by(sink):
        await until(lambda: _true(sink.mumbled > 10 * UNCLEAR_TRIES))
        assert await outbox.parked() == []
        sink.dumb = False
        await until(lambda: _true(len(outbox.arrived) == 4))
    assert await outbox.parked() == []


async def test_a_failure_that_passes_parks_nothing(outbox: Outbox) -> None:
    key, other = beside(2)
    await outbox.tell(key, other)
    sink = Mumbling(outbox.broker, key)
    sink.most = 4
    async with outbox.relayed_by(sink):
        await until(lambda: _true(len(outbox.arrived) == 2))
    assert await outbox.parked() == []
    assert sink.mumbled == sink.most


async def test_a_row_that_is_alone_is_judged_by_what_other_partitions_bring_to_its_topic(
    outbox: Outbox,
) -> None:
    [alone], [other] = beside(1), beside(1, part=3)
    await outbox.tell(alone)
    sink = Mumbling(outbox.broker, alone)
    async with outbox.relayed_by(sink):
        await until(lambda: _true(sink.mumbled > 2 * UNCLEAR_TRIES))
        assert await outbox.parked() == [], "nobody knows yet whose fault it is"
        await outbox.tell(other)
        await until(lambda: _is(outbox, [(alone, "parked")]))
    assert outbox.arrived == [(other, 1)]


async def test_a_row_alone_in_its_topic_is_parked_when_the_broker_goes_on_taking_other_topics(
    outbox: Outbox,
) -> None:
    [alone], [other] = beside(1), beside(1, part=3)
    await outbox.tell(alone, topic="order.state")
    sink = Mumbling(outbox.broker, alone)

    async def another_topic_goes_on(sequence: int) -> None:
        await outbox.tell(other, sequence=sequence)
        await until(lambda: _true((other, sequence) in outbox.arrived))

    async with outbox.relayed_by(sink):
        await until(lambda: _true(sink.mumbled > 2 * UNCLEAR_TRIES))
        for sequence in (1, 2):
            await another_topic_goes_on(sequence)
            before = sink.mumbled
            await until(lambda: _true(sink.mumbled > before + 2))  # noqa: B023 - awaited here
            assert await outbox.parked() == [], "twice may be chance"
        await another_topic_goes_on(3)
        await until(lambda: _is(outbox, [(alone, "parked")]))


async def test_a_row_alone_in_its_topic_does_not_hold_the_other_topics_of_its_partition(
    outbox: Outbox,
) -> None:
    alone, *others = beside(3)
    await outbox.tell(alone, topic="order.state")
    await outbox.tell(*others)
    async with outbox.relayed_by(Mumbling(outbox.broker, alone)):
        await until(lambda: _is(outbox, [(alone, "parked")]))
        await until(lambda: _true(len(outbox.arrived) == len(others)))


class Fading(Mumbling):
    """Mumbles for everything once it took the first key by itself; and is away for the second one."""

    async def publish(self, part: int, rows: Sequence[Row], within_s: float) -> None:
        if len(rows) == 1 and rows[0]["key"] in self.bad:
            self.dumb = True
            raise UnavailableError("planted")
        await super().publish(part, rows, within_s)


async def test_what_was_taken_in_an_earlier_round_speaks_against_nobody(outbox: Outbox) -> None:
    innocent, bad = beside(2)
    await outbox.tell(innocent, bad)
    sink = Fading(outbox.broker, bad)
    async with outbox.relayed_by(sink):
        await until(lambda: _true(sink.dumb))
        assert outbox.arrived == [(innocent, 1)]
        before = sink.mumbled
        await until(lambda: _true(sink.mumbled > before + UNCLEAR_TRIES))
        assert await outbox.parked() == []


async def test_a_row_that_goes_through_after_the_others_is_not_parked(outbox: Outbox) -> None:
    key, other = beside(2)
    await outbox.tell(key, other)
    sink = Mumbling(outbox.broker, key)
    # Whole until it is looked for, whole once more, and alone; then the other one gets through.
    sink.most = UNCLEAR_TRIES + 2
    async with outbox.relayed_by(sink):
        await until(lambda: _true(len(outbox.arrived) == 2))
    assert outbox.arrived == [(other, 1), (key, 1)]
    assert sink.mumbled == sink.most
    assert await outbox.parked() == []


async def test_tried_again_such_a_row_holds_up_nobody_and_goes_when_it_can(outbox: Outbox) -> None:
    first, second, third = beside(3)
    await outbox.tell(first, second, third)
    sink = Mumbling(outbox.broker, first, second)
    async with outbox.relayed_by(sink):
        await until(lambda: _is(outbox, [(first, "parked"), (second, "parked")]))
        sink.bad = {first}
        await until(lambda: _is(outbox, [(first, "parked"), (second, "published")]))
    assert outbox.arrived == [(third, 1), (second, 1)]


async def test_an_answer_without_a_reason_is_unclear_and_one_with_a_reason_goes_first() -> None:
    rows: list[Row] = []
    with pytest.raises(UnclearError, match="UnknownError"):
        raise_failure([(_failed(UnknownError()), rows)])
    with pytest.raises(NotLeaderForPartitionError):
        raise_failure([(_failed(NotLeaderForPartitionError()), rows)])
    for unclear in (UnclearError(rows, ""), RefusedError(rows, "")):
        assert isinstance(unclear, UnavailableError) == isinstance(unclear, UnclearError)


async def test_a_row_that_cannot_be_written_as_a_record_is_unclear_too(kafka: str) -> None:
    sink = KafkaSink(kafka, service="orders", topic_prefix="", instance="a")
    try:
        with pytest.raises(UnclearError, match="KeyError"):
            await sink.publish(0, [{"topic": "order.placed"}], 5.0)  # type: ignore[list-item]
    finally:
        await sink.close()


def _failed(error: Exception) -> "asyncio.Future[object]":
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


async def _is(outbox: Outbox, states: list[tuple[str, str]]) -> bool:
    return [(row["key"], row["state"]) for row in await outbox.parked()] == states


async def _true(said: bool) -> bool:  # noqa: FBT001 - until asks a function that may wait
    return said


class Batchwise(StubSink):
    """Row by row, each acknowledged before the next, as a topic goes batch by batch; one key is refused."""

    def __init__(self, broker: StubBroker, bad: str) -> None:
        super().__init__(broker)
        self.bad = bad

    async def publish(self, part: int, rows: Sequence[Row], within_s: float) -> None:
        for row in rows:
            if row["key"] == self.bad:
                raise RefusedError([row], "planted")
            await super().publish(part, [row], within_s)


async def test_what_was_stored_before_a_refusal_is_not_sent_again_behind_what_followed(
    outbox: Outbox,
) -> None:
    key, bad = beside(2)
    await outbox.tell(key)
    await outbox.tell(bad)
    await outbox.tell(key, sequence=2)
    async with outbox.relayed_by(Batchwise(outbox.broker, bad)):
        await until(lambda: _true((key, 2) in outbox.arrived))
    assert [(fact.key, fact.sequence) for fact in outbox.broker.log] == [(key, 1), (key, 2)]
    assert [row["key"] for row in await outbox.parked()] == [bad]
