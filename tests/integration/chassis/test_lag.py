"""How late the service's group is, asked of a real broker: with and without anybody reading."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import REGISTRY

from services.chassis import lag
from services.chassis.committed import UnsaidError
from services.chassis.listener import Place
from tests.support.waiting import until

TOPICS = ("payment.returned", "payment.declined")
HOUR_MS = 3_600_000


@dataclass
class Broker:
    """One service's topics on the run's broker, seen by the clients a process keeps."""

    place: Place
    admin: AIOKafkaAdminClient
    client: AIOKafkaConsumer
    seen: bool = False

    def saw_all(self) -> bool:
        """Whether the last look was a good one."""
        return self.seen

    async def write(self, topic: str, *ages_ms: int) -> None:
        """Records into partition 3, so many milliseconds old."""
        producer = AIOKafkaProducer(bootstrap_servers=self.place.kafka)
        await producer.start()
        now_ms = time.time_ns() // 1_000_000
        try:
            for age_ms in ages_ms:
                await producer.send_and_wait(
                    f"{self.place.prefix}{topic}", b"{}", partition=3, timestamp_ms=now_ms - age_ms
                )
        finally:
            await producer.stop()

    async def take(self, topic: str, offset: int) -> None:
        """What a member of the group commits once it has taken everything below."""
        partition = TopicPartition(f"{self.place.prefix}{topic}", 3)
        member = AIOKafkaConsumer(
            bootstrap_servers=self.place.kafka,
            group_id=f"{self.place.prefix}notifications",
            enable_auto_commit=False,
        )
        await member.start()
        try:
            member.assign([partition])
            await member.commit({partition: OffsetAndMetadata(offset, "")})
        finally:
            await member.stop()

    async def look(self) -> dict[str, tuple[float | None, float | None]]:
        """By topic: records behind, and seconds."""
        self.seen = lag.show(await self.unread(), TOPICS)
        names = ("kb_consumer_lag_records", "kb_consumer_lag_seconds")
        return {topic: (shown(names[0], topic), shown(names[1], topic)) for topic in TOPICS}

    async def unread(self, service: str = "notifications") -> dict[str, lag.Late]:
        return await lag.unread(self.place, service, TOPICS, self.admin, self.client)


def shown(name: str, topic: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"topic": topic})


@pytest.fixture
async def broker(kafka: str, topics: Callable[..., Awaitable[str]]) -> AsyncIterator[Broker]:
    place = Place(kafka, await topics(*TOPICS), f"lag-{uuid4().hex[:6]}")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    client = AIOKafkaConsumer(bootstrap_servers=kafka)
    await admin.start()
    await client.start()
    made = Broker(place, admin, client)

    async def answers() -> bool:
        """The first question for a group makes the broker create the topic of its offsets, and load it."""
        with suppress(GroupCoordinatorNotAvailableError, UnsaidError):
            return bool(await made.look())
        return False

    await until(answers)
    yield made
    await client.stop()
    await admin.close()


async def test_a_group_that_has_taken_everything_is_not_behind(broker: Broker) -> None:
    assert await broker.look() == {"payment.returned": (0, 0), "payment.declined": (0, 0)}
    await broker.write("payment.returned", HOUR_MS, 0)
    await broker.take("payment.returned", 2)
    assert await broker.look() == {"payment.returned": (0, 0), "payment.declined": (0, 0)}


async def test_the_lag_is_the_age_of_the_oldest_record_nobody_took_rounded_up(broker: Broker) -> None:
    await broker.write("payment.returned", 3 * HOUR_MS, 45_000, 40_000, 0)
    assert (await broker.look())["payment.returned"] == (4, 6 * 3_600), "a group that never read anything"
    await broker.take("payment.returned", 1)
    assert (await broker.look())["payment.returned"] == (3, 60)
    await broker.take("payment.returned", 3)
    records, seconds = (await broker.look())["payment.returned"]
    assert records == 1
    assert seconds is not None
    assert 0 < seconds < 60


async def test_the_lag_grows_with_nobody_alive_to_read(broker: Broker) -> None:
    await broker.write("payment.returned", 500)

    async def grown() -> bool:
        seconds = (await broker.look())["payment.returned"][1]
        return seconds is not None and seconds >= 5

    await until(grown)


async def test_another_group_that_is_behind_is_none_of_ours(broker: Broker) -> None:
    await broker.write("payment.declined", HOUR_MS // 2)
    await broker.take("payment.declined", 1)
    other = await broker.unread("bookings")
    assert other == {"payment.returned": (0, 0), "payment.declined": (1, HOUR_MS // 1000)}
    assert (await broker.look())["payment.declined"] == (0, 0)


class Loading(AIOKafkaAdminClient):  # type: ignore[misc]
    """Asks a coordinator that still loads the groups it has been given: an error, and nothing beside it."""

    async def _send_request(self, request: Any, node_id: int | None = None) -> Any:  # noqa: ANN401
        if isinstance(request, OffsetFetchRequest):
            return OffsetFetchResponse_v3(0, [], GroupLoadInProgressError.errno)
        return await super()._send_request(request, node_id)


async def test_a_group_that_is_still_being_loaded_has_not_left_everything_unread(broker: Broker) -> None:
    await broker.write("payment.returned", HOUR_MS)
    await broker.take("payment.returned", 1)
    broker.admin, told = Loading(bootstrap_servers=broker.place.kafka), broker.admin
    await broker.admin.start()
    try:
        with pytest.raises(UnsaidError):
            await broker.look()
    finally:
        await broker.admin.close()
        broker.admin = told
    assert (await broker.look())["payment.returned"] == (0, 0)


async def test_of_a_topic_that_is_not_there_nothing_is_shown_and_the_look_is_no_good_one(
    broker: Broker,
) -> None:
    await broker.write("payment.returned", 500)
    await broker.look()
    assert broker.saw_all()
    await broker.admin.delete_topics([f"{broker.place.prefix}payment.declined"])

    async def gone() -> bool:
        return (await broker.look())["payment.declined"] == (None, None)

    await until(gone)
    assert not broker.saw_all()
    assert (await broker.look())["payment.returned"][0] == 1
