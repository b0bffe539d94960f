"""One or several of the services as a process under test, with an entrance for the load generator.

Run as `python -m bench.ours.process <socket> <service> [<service> ...]`; the settings come from the
environment, those of a service from `KB_BENCH_<SERVICE>` as JSON. Several services in one process share its
event loop and nothing else.
"""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from bench.ours import entrances
from bench.ours.watching import Batch, Notes, Sampler, WatchedProcess
from bench.wire import End, Message, connect
from services.chassis import logs
from services.chassis.app import Service, collect_rarely
from services.chassis.telemetry import start_tracing, stop_tracing

PROFILED: Final = "KB_BENCH_PROFILED"
BATCH: Final = "KB_BENCH_BATCH"


class Watcher:
    """Tells the generator how far the orders have come, and the entrances what has become possible."""

    def __init__(self, service: str, end: End, entrance: entrances.Entrance) -> None:
        self.service = service
        self.end = end
        self.entrance = entrance
        self.notes = Notes()

    def committed(self, batch: Batch) -> None:
        """One batch took effect."""
        self.notes.fills[batch.topic].append(len(batch.events))
        self.entrance.committed(batch)
        self.end.send({"service": self.service, "heard": batch.topic, "count": len(batch.events)})


def build(name: str) -> Service:
    """The service as its own `__main__` builds it, with the settings meant for it."""
    settings_class = getattr(import_module(f"services.{name}.settings"), f"{name.title()}Settings")
    settings = settings_class(**orjson.loads(os.environ[f"KB_BENCH_{name.upper()}"]))
    service: Service = import_module(f"services.{name}.app").build(settings)
    return service


async def run(socket: Path, names: list[str]) -> None:
    """Serve until SIGTERM; what was noticed is told when the generator asks."""
    collect_rarely()
    end = await connect(socket, names[0])
    batch = int(os.environ[BATCH])
    watchers = {name: Watcher(name, end, entrances.of(name, end, batch)) for name in names}
    processes = [_watched(watcher) for watcher in watchers.values()]
    loop, sampler = asyncio.get_running_loop(), Sampler()
    loop.add_signal_handler(signal.SIGTERM, _stop, processes)
    listening = asyncio.create_task(_listen(end, watchers, sampler))
    ready = asyncio.create_task(_say_when_ready(end, processes))
    try:
        await asyncio.gather(*(one.run() for one in processes))
    finally:
        listening.cancel()
        ready.cancel()
        stop_tracing()


def _stop(processes: list[WatchedProcess]) -> None:
    for one in processes:
        one.stopping.set()


def _watched(watcher: Watcher) -> WatchedProcess:
    service = build(watcher.service)
    settings = service.settings
    logs.start(service.name, settings.instance, settings.log_level)
    start_tracing(
        service.name, settings.otlp_endpoint, instance=settings.instance, ratio=settings.trace_ratio
    )
    # The workers ask the real gateway; here the answers are brought in at the action they would call.
    return WatchedProcess(replace(service, workers=watcher.entrance.workers()), watcher.committed)


async def _say_when_ready(end: End, processes: list[WatchedProcess]) -> None:
    while not all(one.health.schema_known.is_set() and one.health.consuming() for one in processes):  # noqa: ASYNC110 - two kinds of news
        await asyncio.sleep(0.02)
    end.send({"ready": True})


async def _listen(end: End, watchers: dict[str, Watcher], sampler: Sampler) -> None:
    async for message in end.messages():
        if "place" in message:
            watchers["orders"].entrance.place(message["place"])
        elif "begin" in message and PROFILED in os.environ:
            sampler.start()
        elif "tell" in message:
            end.send(_told(watchers, sampler))


def _told(watchers: dict[str, Watcher], sampler: Sampler) -> Message:
    fills: dict[str, Any] = {}
    for name, watcher in watchers.items():
        fills |= {f"{name} {topic}": sizes for topic, sizes in watcher.notes.fills.items()}
        fills |= {f"{name} {what}": sizes for what, sizes in watcher.entrance.fills.items()}
    profile = sampler.stop() if PROFILED in os.environ else None
    return {"told": {"fills": fills, "profile": profile}}


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), sys.argv[2:]))
