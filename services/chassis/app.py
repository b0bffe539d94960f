"""The application: one process per service runs HTTP, consumer, relay, reconcilers and workers."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import APIRouter
from starlette.middleware import Middleware

from services.chassis import batch, business, gauges, lag, logs, ops, parked_api, reconcilers_api
from services.chassis.back_pressure import Pressure
from services.chassis.consumer import Consumer
from services.chassis.db import Database
from services.chassis.gauges import Measure
from services.chassis.housekeeping import HOUSEKEEPING
from services.chassis.http import ANSWER_WITHIN_S, MOST_AT_ONCE, make_app
from services.chassis.listener import Listener, Place, caught_up
from services.chassis.migrate import ForeignSchemaError
from services.chassis.parked_actions import Desk
from services.chassis.reconciler import Reconciler, keep_running
from services.chassis.relay import Relay
from services.chassis.retrier import keep_retrying, subscriptions_of
from services.chassis.settings import (
    OwnerSettings,
    ServiceSettings,
    SettingsT,
    UnfitSettingsError,
    read,
)
from services.chassis.supervision import keep_alive
from services.chassis.telemetry import start_tracing, stop_tracing

LOG = structlog.get_logger("app")
LAME_DUCK_S = 0.5
"""So long nobody new is let in, but who is connected is still answered, and told to come to somebody else."""
DRAIN_S = 8.0
CUT_S = 0.5
CLOSE_S = 1.0
"""Together at most `STOPPED_WITHIN_S`, whatever hangs."""
STOPPED_WITHIN_S = 10.0
UNFIT_SETTINGS = 2
FOREIGN_SCHEMA = 5  # 3 is what the HTTP server ends with when it cannot start
CONSUMER_STUCK = 4


@dataclass(slots=True)
class Runtime:
    """What a worker may use while the process lives."""

    db: Database
    settings: Any
    stopping: asyncio.Event
    wake: asyncio.Event
    """Set by whoever in this process has work for a worker (a browser return, for example)."""


Worker = Callable[[Runtime], Coroutine[Any, Any, None]]
Background = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service:
    """One service, wired: what it answers, hears, heals and works off."""

    name: str
    settings: ServiceSettings
    router: APIRouter
    consumer: Consumer | None = None
    reconcilers: Sequence[Reconciler] = ()
    workers: Sequence[Worker] = ()
    measures: Sequence[Measure] = ()
    """What its own tables say in numbers, beyond what every service measures."""
    state: dict[str, Any] = field(default_factory=dict)
    """Further attributes of the HTTP application's state."""
    middleware: Sequence[Middleware] = ()
    answer_within_s: float | None = ANSWER_WITHIN_S
    """A request that takes longer is answered with 503; None for a service that holds its callers itself."""
    at_end: Sequence[Background] = ()
    """What is closed once nothing runs any more."""
    numbers: business.Numbers | None = None
    """What this service says about its own work in `GET /internal/health/business`."""


class _Server(uvicorn.Server):
    """uvicorn exits with a signal's code; ours drains and exits 0, so the signals are handled outside."""

    def capture_signals(self) -> Any:  # noqa: ANN401
        return nullcontext()


class Process:
    """One running service; also used in-process by tests."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.stopping = asyncio.Event()
        self.exit_code = 0
        self.db = self._database()
        self.runtime = Runtime(self.db, service.settings, self.stopping, asyncio.Event()) if self.db else None
        self.health = ops.Health(stopping=self.stopping.is_set)
        self.pressure = _pressure_of(self.service.settings)
        self.duties = {duty.name: duty for duty in (*service.reconcilers, *HOUSEKEEPING)} if self.db else {}
        self.server = _Server(self._uvicorn())
        self.tasks: list[asyncio.Task[None]] = []
        if service.consumer is not None:
            batch.expect(service.consumer.subscriptions)

    def _database(self) -> Database | None:
        settings = self.service.settings
        if not isinstance(settings, OwnerSettings):
            return None
        return Database(settings.database_url, name=settings.instance, size=settings.pool_size)

    def _desk(self) -> Desk | None:
        settings, consumer = self.service.settings, self.service.consumer
        if self.db is None or not isinstance(settings, OwnerSettings):
            return None
        hears = subscriptions_of(consumer) if consumer else {}
        return Desk(self.db, self.service.name, hears, settings.parked_edits)

    def _uvicorn(self) -> uvicorn.Config:
        settings = self.service.settings
        app = make_app(
            self.service.name,
            routers=[self.service.router, ops.router, *self._operating()],
            state=self._state() | self.service.state,
            middleware=self.service.middleware,
            answer_within_s=self.service.answer_within_s,
        )
        return uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="none",
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=30,
            limit_concurrency=2 * MOST_AT_ONCE,  # of connections; it refuses without a problem document
            server_header=False,
        )

    def _operating(self) -> list[APIRouter]:
        """What operators may ask of a service that owns tables."""
        return [parked_api.router, reconcilers_api.router, business.router] if self.db is not None else []

    def _place(self) -> Place:
        settings = self.service.settings
        batch_size = settings.batch_size if isinstance(settings, OwnerSettings) else 500
        return Place(settings.kafka, settings.topic_prefix, settings.instance, batch_size)

    async def _caught_up(self, topics: Sequence[str]) -> bool:
        return await caught_up(self._place(), self.service.name, topics)

    def _state(self) -> dict[str, Any]:
        return {
            "db": self.db,
            "settings": self.service.settings,
            "runtime": self.runtime,
            "health": self.health,
            "pressure": self.pressure,
            "stopping": self.stopping,
            "desk": self._desk(),
            "duties": self.duties,
            "caught_up": self._caught_up,
            "numbers": self.service.numbers,
        }

    async def run(self) -> int:
        """Serve until `stopping`; returns the exit code (0 after a clean drain)."""
        serving = asyncio.create_task(self.server.serve(), name="http")
        serving.add_done_callback(lambda _: self.stopping.set())
        if self.db is not None and self.runtime is not None:
            self._start_background(self.db, self.runtime)
        await self.stopping.wait()
        LOG.info("draining", service=self.service.name)
        await self._drain(serving)
        return self.exit_code

    def _start_background(self, db: Database, runtime: Runtime) -> None:
        service, place = self.service, self._place()
        self._spawn("schema", lambda: ops.watch_database(db, service.name, self.health, self._foreign_schema))
        self._spawn("relay", self._on_our_schema(partial(self._relay, db)))
        watch_outbox = partial(ops.watch_outbox, db, self.pressure, self.stopping)
        self._spawn("outbox gauges", self._on_our_schema(watch_outbox))
        measures = (*gauges.of_every_service(tuple(self.duties.values())), *service.measures)
        measuring = partial(gauges.keep_measuring, db, measures, self.stopping)
        self._spawn("gauges", self._on_our_schema(measuring))
        self._spawn("waiting", partial(ops.say_what_is_missing, self.health, db, self.stopping))
        if service.consumer is not None:
            consumer = service.consumer
            self.health.consuming = lambda: False
            self._spawn("consumer", self._on_our_schema(partial(self._listen, consumer, db, place)))
            self._spawn("retrier", self._on_our_schema(partial(keep_retrying, db, consumer, self.stopping)))
        for duty in self.duties.values():
            heal = partial(keep_running, duty, db, self._caught_up, self.stopping)
            self._spawn(duty.name, self._on_our_schema(heal))
        for worker in service.workers:
            self._spawn(worker.__name__, self._on_our_schema(partial(worker, runtime)))
        if service.consumer is not None:
            gauges.expect("lag")
            self._spawn("lag", partial(self._watch_lag, service.consumer, place))

    def _spawn(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        self.tasks.append(asyncio.create_task(keep_alive(name, task, self.stopping), name=name))

    def _on_our_schema(self, task: Background) -> Background:
        """The task, once the schema is known to be ours: nothing is written to a foreign one."""

        async def wait_and_run() -> None:
            if await _unless(self.stopping, self.health.schema_known.wait()):
                await task()

        return wait_and_run

    async def _relay(self, db: Database) -> None:
        settings = self.service.settings
        relay = Relay(
            settings.database_url,  # type: ignore[attr-defined]
            service=self.service.name,
            kafka=settings.kafka,
            topic_prefix=settings.topic_prefix,
            instance=settings.instance,
            told=db.told,
        )
        relay.news = db.news
        await relay.run(self.stopping)

    async def _listen(self, consumer: Consumer, db: Database, place: Place) -> None:
        listener = Listener(consumer, db, place)
        try:
            if not await _unless(self.stopping, listener.start()):
                return
            self.health.consuming = lambda: listener.assigned
            while not self.stopping.is_set():
                if await listener.stuck():
                    LOG.error("consumer stuck, ending the process", service=self.service.name)
                    self.exit_code = CONSUMER_STUCK
                    self.stopping.set()
                await _pause(self.stopping, 1.0)
        finally:
            self.health.consuming = lambda: False
            await listener.stop()

    async def _watch_lag(self, consumer: Consumer, place: Place) -> None:
        topics = tuple(consumer.subscriptions)
        await _unless(self.stopping, lag.keep_looking(place, self.service.name, topics))

    def _foreign_schema(self, error: ForeignSchemaError) -> None:
        LOG.error("foreign schema", service=self.service.name, error=str(error))
        sys.stderr.write(f"{error}\n")
        self.exit_code = FOREIGN_SCHEMA
        self.stopping.set()

    async def _drain(self, serving: asyncio.Task[None]) -> None:
        """HTTP and consumers finish what they began; what the relay leaves, its successor sends."""
        ending = asyncio.create_task(self._end_http(serving), name="http")
        _, late = await asyncio.wait([ending, *self.tasks], timeout=DRAIN_S)
        for task in late:
            LOG.warning("cut", task=task.get_name())
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CUT_S)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._close()
        except TimeoutError:
            LOG.warning("cut", task="closing")

    async def _end_http(self, serving: asyncio.Task[None]) -> None:
        """First nobody new is let in; then the server ends what is idle and waits for what is not."""
        for listening in getattr(self.server, "servers", ()):  # none before it has started
            listening.close()
        if not serving.done():
            await asyncio.wait([serving], timeout=LAME_DUCK_S)
        self.server.should_exit = True
        await asyncio.wait([serving])

    async def _close(self) -> None:
        for close in self.service.at_end:
            await close()
        if self.db is not None:
            await self.db.close()


def _pressure_of(settings: ServiceSettings) -> Pressure:
    """How much may wait in the outbox; where there is none, nothing is measured and nobody refused."""
    if not isinstance(settings, OwnerSettings):
        return Pressure(most_rows=0, most_age_s=0.0)
    return Pressure(settings.outbox_most_rows, settings.outbox_most_age_s)


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Whether the work was done before `stopping`; it is cut off otherwise. Raises what the work raises."""
    doing, waiting = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if doing.done():
        doing.result()
        return True
    doing.cancel()
    await asyncio.wait({doing})
    return False


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return


def main(build: Callable[[SettingsT], Service], settings: type[SettingsT]) -> None:
    """`python -m services.<name> run`: the process, ending with 0 after SIGTERM or SIGINT."""
    if sys.argv[1:] != ["run"]:
        sys.exit("usage: python -m services.<name> run")
    try:
        service = build(read(settings))
    except UnfitSettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNFIT_SETTINGS)
    sys.exit(uvloop.run(_serve(service)))


def collect_rarely() -> None:
    """What is loaded stays, and a batch makes no cycles: collecting rarely saves a tenth of the CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


async def _serve(service: Service) -> int:
    settings = service.settings
    collect_rarely()
    logs.start(service.name, settings.instance, settings.log_level)
    start_tracing(
        service.name, settings.otlp_endpoint, instance=settings.instance, ratio=settings.trace_ratio
    )
    process = Process(service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stopping.set)
    try:
        return await process.run()
    finally:
        stop_tracing()
