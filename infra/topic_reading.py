"""Reading topics from outside of any group: from a time on, some partitions only, within bounds."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import BY_NAME
from services.chassis.committed import UnsaidError, committed
from services.chassis.records import Record, record_of

TIMEOUT_MS: Final = 10_000
START_WITHIN_S: Final = 10.0
COORDINATED_WITHIN_S: Final = 5.0
POLL_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """One record where it stands, `at` the time it carries."""

    record: Record
    at: datetime

    @property
    def where(self) -> str:
        return f"{self.record.topic}[{self.record.partition}]@{self.record.offset}"

    @property
    def id(self) -> UUID | None:
        try:
            return UUID(self.record.headers.get("ce_id", ""))
        except ValueError:
            return None

    @property
    def sequence(self) -> int | None:
        written = self.record.headers.get("ce_sequence", "")
        return int(written) if written.isascii() and written.isdigit() else None


Wanted = Callable[[Any], bool]
"""Asked of the raw record, before it costs anything to read it."""


@dataclass(slots=True)
class Topics:
    """A reader that belongs to no group and commits nothing; topics are named without their prefix."""

    prefix: str
    admin: AIOKafkaAdminClient
    consumer: AIOKafkaConsumer
    partitions: Mapping[str, list[TopicPartition]] = field(default_factory=dict)

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where each of these ends now."""
        found: dict[TopicPartition, int] = await self.consumer.end_offsets(partitions) if partitions else {}
        return found

    async def committed(self, service: str) -> dict[TopicPartition, int]:
        """How far the group of that service has read, where it has read anything; raises TimeoutError.

        Asked again while its coordinator loads what it knew, which takes a moment after a restart.
        """
        places = [place for topic in self.partitions.values() for place in topic]
        async with asyncio.timeout(COORDINATED_WITHIN_S):
            while True:
                with suppress(UnsaidError):
                    return await committed(self.admin, f"{self.prefix}{service}", places)
                await asyncio.sleep(0.1)

    def chosen(self, topics: Iterable[str], part: int | None = None) -> list[TopicPartition]:
        """The partitions of these topics; of each only that one, if it is named."""
        there = (one for topic in topics for one in self.partitions.get(topic, ()))
        return [one for one in there if part is None or one.partition == part]

    async def begin(self, partitions: Collection[TopicPartition], since_ms: int) -> None:
        """Stand at the first record of that time (Unix, milliseconds), or at the end where there is none."""
        self.consumer.assign(partitions)
        found = await self.consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        ends = await self.ends(partitions)
        for one in partitions:
            self.consumer.seek(one, found[one].offset if found.get(one) else ends[one])

    async def read(
        self,
        partitions: Collection[TopicPartition],
        since_ms: int,
        *,
        wanted: Wanted,
        within_s: float,
        until_ms: int | None = None,
    ) -> tuple[list[Seen], bool]:
        """What is wanted of these up to that time, or their ends; False when time ran out before."""
        if not partitions:
            return [], True
        found: list[Seen] = []
        deadline = time.monotonic() + within_s
        await self.begin(partitions, since_ms)
        ends, open_ = await self._ends_at(partitions, until_ms), set(partitions)
        while open_ := {one for one in open_ if await self.consumer.position(one) < ends[one]}:
            if time.monotonic() > deadline:
                return found, False
            for batch in (await self.consumer.getmany(*open_, timeout_ms=POLL_MS)).values():
                found += [self.seen(raw) for raw in batch if wanted(raw)]
        return found, True

    async def _ends_at(
        self, partitions: Collection[TopicPartition], until_ms: int | None
    ) -> dict[TopicPartition, int]:
        ends = await self.ends(partitions)
        if until_ms is None:
            return ends
        later = await self.consumer.offsets_for_times(dict.fromkeys(partitions, until_ms))
        return {one: later[one].offset if later.get(one) else end for one, end in ends.items()}

    def seen(self, raw: Any) -> Seen:  # noqa: ANN401 - aiokafka's ConsumerRecord
        return Seen(record_of(raw, self.prefix), datetime.fromtimestamp(raw.timestamp / 1000, UTC))


@asynccontextmanager
async def reading(bootstrap: str, prefix: str = "") -> AsyncIterator[Topics]:
    """The broker and its topics; raises an error of Kafka's client, OSError or TimeoutError if it is away."""
    common: dict[str, Any] = {"bootstrap_servers": bootstrap, "client_id": "kb-look"}
    admin = AIOKafkaAdminClient(**common, request_timeout_ms=TIMEOUT_MS)
    consumer = AIOKafkaConsumer(
        **common,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=TIMEOUT_MS,
    )
    try:
        async with asyncio.timeout(START_WITHIN_S):
            await admin.start()
            await consumer.start()
            found = await _partitions(admin, prefix)
        yield Topics(prefix, admin, consumer, found)
    finally:
        await consumer.stop()
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, prefix: str) -> dict[str, list[TopicPartition]]:
    """Of the topics of the contracts that are there."""
    there = sorted({prefix + name for name in BY_NAME} & set(await admin.list_topics()))
    described = await admin.describe_topics(there) if there else []
    return {
        topic["topic"].removeprefix(prefix): sorted(
            TopicPartition(topic["topic"], one["partition"]) for one in topic["partitions"]
        )
        for topic in described
    }
