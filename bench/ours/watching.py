"""What a process under test notices of itself: batches that commit, their sizes, where CPU time goes."""

import dataclasses
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from contracts.event import Event
from services.chassis.app import Process, Service
from services.chassis.consumer import Consumer, Handler
from services.chassis.db import Database, Tx
from services.chassis.decisions import Verdicts
from services.chassis.settings import OwnerSettings

SAMPLE_S = 0.001


@dataclass(frozen=True, slots=True)
class Batch:
    """One handled batch of one topic, whose transaction has committed."""

    topic: str
    events: Sequence[Event]
    verdicts: Verdicts[Any]


class WatchedDatabase(Database):
    """The service's database; what was handled in a transaction is told once it has committed."""

    def __init__(self, dsn: str, *, name: str, size: int, committed: Callable[[Batch], None]) -> None:
        super().__init__(dsn, name=name, size=size)
        self.handled: dict[Tx, Batch] = {}
        self._committed = committed

    @asynccontextmanager
    async def transaction(self, *, lock_timeout_ms: int | None = None) -> AsyncIterator[Tx]:
        async with super().transaction(lock_timeout_ms=lock_timeout_ms) as tx:
            try:
                yield tx
            except BaseException:
                self.handled.pop(tx, None)
                raise
        if (batch := self.handled.pop(tx, None)) is not None:
            self._committed(batch)


class WatchedProcess(Process):
    """The service's process, its handlers and its database watched."""

    def __init__(self, service: Service, committed: Callable[[Batch], None]) -> None:
        self._committed = committed
        super().__init__(service)
        if service.consumer is not None:
            self.service = dataclasses.replace(service, consumer=self._watched(service.consumer))

    def _database(self) -> Database:
        settings = self.service.settings
        assert isinstance(settings, OwnerSettings), "every service of this unit owns tables"
        return WatchedDatabase(
            settings.database_url, name=settings.instance, size=settings.pool_size, committed=self._committed
        )

    def _watched(self, consumer: Consumer) -> Consumer:
        watched = Consumer(consumer.service)
        for topic, one in consumer.subscriptions.items():
            watched.subscriptions[topic] = dataclasses.replace(one, handler=self._remembering(one.handler))
        return watched

    def _remembering(self, handler: Handler[Any]) -> Handler[Any]:
        async def remember(tx: Tx, events: Sequence[Event]) -> Verdicts[Any]:
            verdicts = await handler(tx, events)
            assert isinstance(self.db, WatchedDatabase), "made so"
            self.db.handled[tx] = Batch(events[0].TOPIC, events, verdicts)
            return verdicts

        return remember


@dataclass(slots=True)
class Notes:
    """Sizes of the batches, by topic; the entrances count under names of their own."""

    fills: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


class Sampler:
    """Where this process spends its CPU time: the Python stack, at most once per millisecond of it.

    A timer of CPU time and not of wall time, so waiting is not seen. Time inside a C function counts for the
    Python line that called it.
    """

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.within: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self.samples = 0
        self.began = 0.0

    def start(self) -> None:
        self.began = time.process_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)

    def stop(self) -> dict[str, Any]:
        """The functions most often met: on top of the stack, and anywhere in it."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        # The kernel's tick may be coarser than the timer: what a sample stands for follows from the CPU time.
        return {
            "cpu_s": time.process_time() - self.began,
            "samples": self.samples,
            "own": self.own.most_common(400),
            "within": self.within.most_common(300),
            "lines": self.lines.most_common(300),
        }

    def _sample(self, _: int, frame: FrameType | None) -> None:
        self.samples += 1
        met: set[str] = set()
        line = ""
        while frame is not None:
            name = _place(frame)
            if not met:
                self.own[name] += 1
            if not line and (
                "/services/" in frame.f_code.co_filename or "/contracts/" in frame.f_code.co_filename
            ):
                line = f"{name}:{frame.f_lineno}"
            met.add(name)
            frame = frame.f_back
        self.lines[line or "no line of ours"] += 1
        self.within.update(met)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    parts = code.co_filename.replace("\\", "/").rsplit("site-packages/", 1)[-1].split("/")
    return f"{'/'.join(parts[-4:])}:{code.co_qualname}"
