"""A broker that appends batches atomically, and ways to it that can freeze and deliver late."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.chassis.publisher import Row, UnavailableError
from tests.support.torture.judge import Fact


@dataclass(slots=True)
class StubBroker:
    """All that arrived, in order of arrival."""

    log: list[Fact] = field(default_factory=list)
    first: set[UUID] = field(default_factory=set)

    def append(self, rows: Sequence[Row]) -> None:
        for row in rows:
            event_id = UUID(str(row["event_id"]))
            self.log.append(Fact(row["key"], row["key_seq"], event_id))
            self.first.add(event_id)


class StubSink:
    """One relay's way to the broker."""

    def __init__(self, broker: StubBroker, latency_s: float = 0.001) -> None:
        self.broker = broker
        self.latency_s = latency_s
        self.open = asyncio.Event()
        self.open.set()
        self._on_the_way: set[asyncio.Task[None]] = set()

    async def publish(self, _part: int, rows: Sequence[Row], within_s: float) -> None:
        """Given up after `within_s`, the rows are still on their way, as they are with a real producer."""
        task = asyncio.create_task(self._deliver(list(rows)))
        self._on_the_way.add(task)
        task.add_done_callback(self._on_the_way.discard)
        done, _ = await asyncio.wait([task], timeout=within_s)
        if not done:
            raise UnavailableError("no answer in time")

    async def _deliver(self, rows: Sequence[Row]) -> None:
        await self.open.wait()
        await asyncio.sleep(self.latency_s)
        self.broker.append(rows)

    async def close(self) -> None:
        """What is on its way stays on its way."""
