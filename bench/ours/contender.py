"""The services as a contender: fresh databases and topics each round, one process per service, an audit."""

import asyncio
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson

from bench import children, wire
from bench.ground import Ground
from bench.load import Progress
from bench.ours import audit, world
from infra import topics
from infra.audit import command as promises

SERVICES: Final = ("orders", "inventory", "payments")
SETTLED_BY: Final = (
    ("inventory", "order.finalized"),
    ("payments", "order.finalized"),
    ("orders", "payment.opened"),
)
"""What must have been heard for every order before nothing is left to do for it."""

LOOKS_EVERY_S: Final = 0.02

LAYOUTS: Final = {
    "process per service": [["orders"], ["inventory"], ["payments"]],
    "one process": [["orders", "inventory", "payments"]],
}


@dataclass(slots=True)
class Services:
    """One configuration of the services."""

    ground: Ground
    batch: int = 500
    layout: str = "process per service"
    tracing: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of every service: where spans go and how many."""
    profiled: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of every service: how much may wait, whether parked records may be edited."""
    door: int = 0
    """The port at which orders answers HTTP; 0: any, since nobody asks."""
    progress: Progress = field(default_factory=Progress)
    heard: Counter[tuple[str, str]] = field(default_factory=Counter)
    _children: dict[str, Process] = field(default_factory=dict)
    _switchboard: wire.Switchboard | None = None
    _ready: set[str] = field(default_factory=set)
    _told: dict[str, Any] = field(default_factory=dict)
    _prefix: str = ""

    @property
    def name(self) -> str:
        """How it is called in tables."""
        traced = f", traced {self.tracing['trace_ratio']:g}" if self.tracing else ""
        return f"services, batch {self.batch}{traced}" + ("" if len(self._layout) > 1 else ", one process")

    @property
    def _layout(self) -> list[list[str]]:
        return LAYOUTS[self.layout]

    async def prepare(self, orders: int) -> None:
        self._prefix = f"b{uuid4().hex[:8]}."
        await world.make(self.ground, orders)
        await topics.create(self.ground.bootstrap, prefix=self._prefix)

    async def start(self) -> None:
        self.progress, self.heard, self._ready, self._told = Progress(), Counter(), set(), {}
        socket = self.ground.folder / "wire"
        self._switchboard = wire.Switchboard(self._heard)
        await self._switchboard.open(socket)
        for services in self._layout:
            self._children[services[0]] = await children.start(
                services[0],
                ["bench.ours.process", str(socket), *services],
                folder=self.ground.folder,
                env=self._environment(services),
            )
        await self._until(lambda: len(self._ready) == len(self._layout), "the services to be ready", 60)
        self._say({"begin": True})

    def _environment(self, services: Sequence[str]) -> dict[str, str]:
        said = {f"KB_BENCH_{name.upper()}": orjson.dumps(self._settings(name)).decode() for name in services}
        said["KB_BENCH_BATCH"] = str(self.batch)
        return said | ({"KB_BENCH_PROFILED": "1"} if self.profiled else {})

    def _settings(self, service: str) -> dict[str, Any]:
        shared = {
            "database_url": world.dsn(self.ground, service),
            "kafka": self.ground.bootstrap,
            "topic_prefix": self._prefix,
            "instance": f"{service}-0",
            "batch_size": self.batch,
            "log_level": "warning",
        }
        door = {"port": self.door} if service == "orders" else {}
        return shared | world.settings(self.ground, service) | dict(self.tracing) | dict(self.more) | door

    def _heard(self, child: str, message: wire.Message) -> None:
        match message:
            case {"finalized": numbers, "at": at}:
                self.progress.finalized |= dict.fromkeys(numbers, at)
            case {"service": service, "heard": topic, "count": count}:
                self.heard[service, topic] += count
                self.progress.settled = min(self.heard[one] for one in SETTLED_BY)
            case {"ready": True}:
                self._ready.add(child)
            case {"told": told}:
                self._told[child] = told
            case _:
                raise AssertionError(f"{child} says {message}")
        self.progress.moved.set()

    def _say(self, message: wire.Message) -> None:
        assert self._switchboard is not None, "started before"
        for end in self._switchboard.ends.values():
            end.send(message)

    def submit(self, numbers: Sequence[int]) -> None:
        assert self._switchboard is not None, "started before"
        self._switchboard.ends["orders"].send({"place": list(numbers)})

    def is_alive(self) -> bool:
        return all(process.returncode is None for process in self._children.values())

    def pids(self) -> list[int]:
        return [process.pid for process in self._children.values()]

    async def finish(self) -> dict[str, Any]:
        try:
            if self._ready:
                self._say({"tell": True})
                await self._until(lambda: self._told.keys() >= self._ready, "the services to tell", 10)
        finally:
            for name, process in self._children.items():
                await children.stop(process, self.ground.folder, name)
            self._children.clear()
            if self._switchboard is not None:
                await self._switchboard.close()
        noticed: dict[str, Any] = {"fills": {}, "profiles": {}}
        for child, told in self._told.items():
            noticed["fills"] |= told["fills"]
            noticed["profiles"][child] = told["profile"]
        return noticed | {"hops": await audit.hops(self.ground)}

    async def _until(self, reached: Callable[[], bool], what: str, within_s: float) -> None:
        give_up = wire.clock() + within_s
        while not reached():
            if wire.clock() > give_up or not self.is_alive():
                logs = "\n".join(_last_words(self.ground.folder / f"{name}.log") for name in self._children)
                raise RuntimeError(f"waited {within_s:g} s for {what}\n{logs}")
            await asyncio.sleep(LOOKS_EVERY_S)

    @property
    def prefix(self) -> str:
        """What the names of this round's topics begin with."""
        return self._prefix

    @property
    def databases(self) -> dict[str, str]:
        """The administrator's DSN of each service's database."""
        return {service: self.ground.database(world.database(service)) for service in world.SERVICES}

    async def audit(self, orders: int, left_in_carts: int = 0) -> list[str]:
        """Our own counts, then every promise of the system's audit, which knows nothing of the bench."""
        if wrong := await audit.audit(self.ground, orders, left_in_carts):
            return wrong
        found = await promises.audit(
            databases=self.databases, kafka=self.ground.bootstrap, topic_prefix=self._prefix, wait_quiet_s=5
        )
        broken = [
            f"{one.promise.id}: {violation}" for one in found.judged for violation in one.finding.violations
        ]
        return broken + [f"still moving: {one}" for one in found.moving]


def _last_words(log: Path) -> str:
    return f"{log.name}: {log.read_text(errors='replace')[-2000:]}"
