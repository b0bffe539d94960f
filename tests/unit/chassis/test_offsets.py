"""How far a batch says it has come."""

from collections.abc import Mapping
from types import SimpleNamespace

from aiokafka import TopicPartition

from services.chassis.listener import Moved

A, B, C = (TopicPartition("payment.opened", number) for number in range(3))


class Client:
    """The driver's consumer, as far as a commit needs it."""

    def __init__(self, *held: TopicPartition) -> None:
        self.held = frozenset(held)
        self.committed: list[Mapping[TopicPartition, int]] = []

    def assignment(self) -> frozenset[TopicPartition]:
        return self.held

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed.append(offsets)


def records(*places: tuple[TopicPartition, int]) -> list[SimpleNamespace]:
    return [SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=offset) for tp, offset in places]


async def test_a_batch_commits_the_record_after_its_last_one_of_each_partition_and_no_other_partition() -> (
    None
):
    client = Client(A, B, C)
    await Moved(client, records((A, 7), (B, 3), (A, 8))).commit()
    assert client.committed == [{A: 9, B: 4}]


async def test_what_was_taken_away_during_the_batch_is_not_committed() -> None:
    client = Client(B)
    await Moved(client, records((A, 7), (B, 3))).commit()
    assert client.committed == [{B: 4}]


async def test_nothing_is_committed_when_everything_was_taken_away() -> None:
    client = Client()
    await Moved(client, records((A, 7))).commit()
    assert client.committed == []
