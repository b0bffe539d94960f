"""The offsets of a group, told to the broker behind the batches: none waits for its commit to be answered.

What is told late is only read again when a process dies, and the inbox knows it. Within `EVERY_S` a commit
speaks of all batches at once, because the broker writes a record for every partition of every commit.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError

LOG = structlog.get_logger("listener")
EVERY_S: Final = 0.1
ALL_EVERY_S: Final = 10.0
"""So often the group says of every partition how far it has read: its age and `caught_up` go by that."""
AGAIN_S: Final = 1.0
LOOK_S: Final = 1.0
LAST_S: Final = 3.0
COMMIT_S: Final = 5.0


class Offsets:
    """How far the batches of one Kafka consumer have come, and how much of it the broker has been told."""

    def __init__(self, client: Callable[[], Any]) -> None:
        self.client = client
        """None while there is no connection: then what is noted cannot be told, and is read again."""
        self._ends: dict[TopicPartition, int] = {}
        self._noted = asyncio.Event()
        self._at_once = False
        self._all_at = 0.0
        self._telling = asyncio.Lock()

    async def note(self, ends: dict[TopicPartition, int]) -> None:
        """All before these offsets has taken effect."""
        self._ends |= ends
        self._noted.set()
        if self._at_once:
            await self.flush()

    async def note_all(self) -> None:
        """Now and then, while no batch is under way: what was read of any partition has taken effect."""
        if time.monotonic() < self._all_at:
            return
        if (client := self.client()) is None:
            return
        self._all_at = time.monotonic() + ALL_EVERY_S
        # A rebalance under way, or a broker away that knows our position: the next time.
        with contextlib.suppress(IllegalStateError, TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self.note({place: await client.position(place) for place in client.assignment()})

    async def keep(self) -> None:
        """Tell the broker, again and again, at most every `EVERY_S`; until cancelled."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            await asyncio.sleep(EVERY_S if await self.flush() else AGAIN_S)

    async def flush(self) -> bool:
        """Tell the broker what it has not been told; what could not be told is kept for the next time."""
        async with self._telling:
            ends, self._ends = self._ends, {}
            client = self.client()
            # What was taken away meanwhile is its new owner's to commit.
            held = client.assignment() if client is not None else frozenset()
            ends = {place: end for place, end in ends.items() if place in held}
            try:
                if ends:
                    # The client asks again for ever about a topic that somebody has deleted.
                    await asyncio.wait_for(client.commit(ends), COMMIT_S)
            except (KafkaError, IllegalStateError, ConsumerStoppedError, TimeoutError) as error:
                LOG.warning("offsets not committed", partitions=len(ends), error=repr(error)[:300])
                self._ends = ends | self._ends
                self._noted.set()
                return False
            return True

    async def give_up(self) -> None:
        """Before partitions are handed on: what is known is told, bounded, because the broker may be away."""
        try:
            await asyncio.wait_for(self.flush(), LAST_S)
        except TimeoutError:
            LOG.warning("offsets not committed in time")
        self._ends.clear()

    async def end(self) -> None:
        """The process wants to end: what is known is told now, and from now on each batch waits for it."""
        self._at_once = True
        await self.give_up()


class Batch:
    """The consumer as one batch sees it: its commit says how far this batch has come, and nothing of others.

    A member holds up to a gross of partitions, and a commit of all of them writes a record for each.
    """

    def __init__(self, offsets: Offsets, records: Sequence[Any]) -> None:
        self._offsets = offsets
        self._ends = {TopicPartition(one.topic, one.partition): one.offset + 1 for one in records}

    async def commit(self) -> None:
        """All of this batch has taken effect."""
        await self._offsets.note(self._ends)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read again from here."""
        self._offsets.client().seek(partition=partition, offset=offset)
