"""How far the batches of a consumer say they have come, and when the broker hears of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from services.chassis.offsets import Batch, Offsets

A, B, C = (TopicPartition("payment.opened", number) for number in range(3))


class Client:
    """The driver's consumer, as far as a commit needs it."""

    def __init__(self, *held: TopicPartition) -> None:
        self.held = frozenset(held)
        self.committed: list[Mapping[TopicPartition, int]] = []
        self.fails = 0
        self.told = asyncio.Event()

    def assignment(self) -> frozenset[TopicPartition]:
        return self.held

    async def position(self, _: TopicPartition) -> int:
        return 20

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.fails:
            self.fails -= 1
            raise CommitFailedError
        self.committed.append(offsets)
        self.told.set()


def records(*places: tuple[TopicPartition, int]) -> list[SimpleNamespace]:
    return [SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=offset) for tp, offset in places]


async def heard(offsets: Offsets, *places: tuple[TopicPartition, int]) -> None:
    await Batch(offsets, records(*places)).commit()


@asynccontextmanager
async def kept(offsets: Offsets) -> AsyncIterator[None]:
    keeping = asyncio.create_task(offsets.keep())
    try:
        yield
    finally:
        keeping.cancel()


async def test_a_batch_commits_the_record_after_its_last_one_of_each_partition_and_no_other_partition() -> (
    None
):
    client = Client(A, B, C)
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7), (B, 3), (A, 8))
    await offsets.flush()
    assert client.committed == [{A: 9, B: 4}]


async def test_one_commit_speaks_of_all_batches_since_the_last_one() -> None:
    client = Client(A, B)
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7))
    await heard(offsets, (A, 8), (B, 3))
    await offsets.flush()
    await offsets.flush()
    assert client.committed == [{A: 9, B: 4}]


async def test_the_broker_hears_of_a_batch_without_anybody_waiting_for_it() -> None:
    client = Client(A)
    offsets = Offsets(lambda: client)
    async with kept(offsets), asyncio.timeout(5):
        await heard(offsets, (A, 7))
        await client.told.wait()
    assert client.committed == [{A: 8}]


async def test_what_was_taken_away_is_not_committed() -> None:
    client = Client(B)
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7), (B, 3))
    await offsets.flush()
    assert client.committed == [{B: 4}]


async def test_nothing_is_committed_when_everything_was_taken_away() -> None:
    client = Client()
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7))
    await offsets.flush()
    assert client.committed == []


async def test_a_commit_that_failed_is_made_again_with_what_has_been_heard_since() -> None:
    client = Client(A, B)
    client.fails = 1
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7), (B, 3))
    assert not await offsets.flush()
    await heard(offsets, (A, 8))
    assert await offsets.flush()
    assert client.committed == [{A: 9, B: 4}]


async def test_before_partitions_are_given_up_the_broker_is_told_and_then_they_are_forgotten() -> None:
    client = Client(A)
    client.fails = 1
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7))
    await offsets.give_up()
    await offsets.flush()
    assert client.committed == []


async def test_when_the_process_ends_a_batch_waits_for_its_commit() -> None:
    client = Client(A)
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7))
    await offsets.end()
    await heard(offsets, (A, 8))
    assert client.committed == [{A: 8}, {A: 9}]


async def test_now_and_then_every_partition_is_told_of() -> None:
    client = Client(A, B)
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7))
    await offsets.note_all()
    await offsets.flush()
    await offsets.note_all()
    await offsets.flush()
    assert client.committed == [{A: 20, B: 20}]


async def test_without_a_connection_nothing_is_told_and_nothing_fails() -> None:
    offsets = Offsets(lambda: None)
    await heard(offsets, (A, 7))
    await offsets.note_all()
    assert await offsets.flush()
    await offsets.end()


async def test_a_commit_that_never_ends_is_left_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Client):
        async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
            if not self.fails:
                await super().commit(offsets)
                return
            self.fails -= 1
            await asyncio.Event().wait()

    monkeypatch.setattr("services.chassis.offsets.COMMIT_S", 0.01)
    client = Endless(A)
    client.fails = 1
    offsets = Offsets(lambda: client)
    await heard(offsets, (A, 7))
    async with asyncio.timeout(5):
        assert not await offsets.flush()
        assert await offsets.flush()
    assert client.committed == [{A: 8}]
