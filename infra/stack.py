"""Brings the whole system up as local processes, keeps it running, and takes it down without a trace."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra import keys, postgres
from infra.databases import SERVICES as OWNERS
from infra.installation import NotRunningError
from infra.parts import AUDIENCE, ISSUER, ROOT, Part, Plan, present_services, table
from infra.progress import plain
from infra.supervisor import Report, State, Supervised

HERE = ROOT / ".run" / "demo"
"""The folder of this checkout's own stack, which `make dev` and the demo share."""
READY_WITHIN_S = 60.0


class AlreadyRunningError(RuntimeError):
    """Another process holds this stack; two would share one data folder."""


class Stack:
    """`async with Stack(folder) as stack:` everything answers inside, and nothing is left outside.

    `services` are those that shall run (all by default); `replicas` says how many of one (1 where it says
    nothing); `env` is set for every service; `report` is told each change of state. `ports` are those that
    are chosen already, `fronts` those through which services shall reach broker and databases (see `Plan`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        services: Sequence[str] | None = None,
        replicas: Mapping[str, int] | None = None,
        env: Mapping[str, str] | None = None,
        report: Report = plain,
        ports: Mapping[str, int] | None = None,
        fronts: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._services = present_services() if services is None else list(services)
        self._replicas, self._env = dict(replicas or {}), dict(env or {})
        self._report = report
        self._ports, self._fronts = dict(ports or {}), dict(fronts or {})
        self._supervised: dict[str, Supervised] = {}
        self._after = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as undo:
            undo.enter_context(_alone(self.folder))
            self.keys = keys.ensure(self.folder / "secrets")
            self._plan = Plan(
                self.folder, self.keys, self._services, self._replicas, self._env, self._ports, self._fronts
            )
            undo.callback((self.folder / "stack.json").unlink, missing_ok=True)
            undo.push_async_callback(self._end)
            await self._begin(table(self._plan))
            self._after = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._after.aclose()

    @property
    def names(self) -> list[str]:
        """The parts that run as processes."""
        return list(self._supervised)

    @property
    def addresses(self) -> dict[str, str]:
        """Where everything answers: URLs, the broker's bootstrap address, the superuser's DSN."""
        plan = self._plan
        return {
            **{service: plan.url(f"{service}-0") for service in plan.services},
            **{name: plan.url(name) for service in plan.services for name in plan.names(service)},
            "esewa": plan.url("esewa"),
            "esewa-control": plan.url("esewa-control"),
            "kafka": plan.kafka,
            "postgres": plan.admin_dsn,
        }

    @property
    def databases(self) -> dict[str, str]:
        """The DSN of each service's own role."""
        return {service: self._plan.database_url(service) for service in OWNERS}

    @property
    def published(self) -> dict[str, str]:
        """Nothing: a browser of this machine reaches everything where it is."""
        return {}

    def pid(self, name: str) -> int:
        """Of the process that runs now, or ran last."""
        return self.process(name).pid

    def process(self, name: str) -> asyncio.subprocess.Process:
        """The running process of a part; a service's name alone means its first replica."""
        return self._named(name).process

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would; the supervision starts it again."""
        self._named(name).kill()

    async def wait_ready(self, name: str, within_s: float = READY_WITHIN_S) -> None:
        """Returns when it answers again; raises TimeoutError otherwise."""
        await self._named(name).wait_ready(within_s)

    def _named(self, name: str) -> Supervised:
        return self._supervised.get(name) or self._supervised[f"{name}-0"]

    async def _begin(self, parts: list[Part]) -> None:
        """All parts at once, each after those it needs; the first that fails ends the attempt."""
        done = {part.name: asyncio.Event() for part in parts}
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    self._told(part.name, State.WAITING, "")
                    group.create_task(self._begin_part(part, done))
        except* Exception as failures:  # noqa: BLE001 - the first reason is the one to read
            raise failures.exceptions[0] from None

    async def _begin_part(self, part: Part, done: Mapping[str, asyncio.Event]) -> None:
        for needed in part.after:
            await done[needed].wait()
        self._told(part.name, State.STARTING, "")
        program = await part.begin()
        if program is None:
            self._told(part.name, State.DONE, "")
        else:
            supervised = self._supervised[part.name] = Supervised(program, self._told)
            await supervised.begin()
        done[part.name].set()

    async def _end(self) -> None:
        """Services first, all at once; then what they stand on."""
        ground = {"kafka", "postgres"}
        services = [part for name, part in self._supervised.items() if name not in ground]
        await asyncio.gather(*(part.end() for part in services))
        await asyncio.gather(*(self._supervised[name].end() for name in ground & self._supervised.keys()))

    def _told(self, name: str, state: State, detail: str) -> None:
        self._report(name, state, detail)
        if state in (State.READY, State.DONE):
            self._remember()

    def _remember(self) -> None:
        """Writes where everything is, for `kb` and for people; readable by its owner only."""
        target = self.folder / "stack.json"
        unfinished = target.with_suffix(".unfinished")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._description(), file, indent=2)
        unfinished.rename(target)

    def _description(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "addresses": self.addresses,
            "databases": self.databases,
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "issuer_key": str(self.keys.issuer_pem),
            "jwks": str(self.keys.jwks),
            "processes": {name: part.process.pid for name, part in self._supervised.items() if part.started},
            "ended": {name: asdict(part.ended) for name, part in self._supervised.items() if part.ended},
        }


def erase(folder: Path) -> None:
    """Removes what a stopped stack left in its folder: data, logs, secrets.

    Raises AlreadyRunningError while one runs there.
    """
    if _is_held(folder / "lock"):
        raise AlreadyRunningError(f"a stack runs in {folder}")
    postgres.erase(folder.resolve() / "postgres")
    shutil.rmtree(folder, ignore_errors=True)


def describe(folder: Path = HERE) -> dict[str, Any]:
    """What the stack that runs in that folder wrote down; raises NotRunningError, which says what to do."""
    if not _is_held(folder / "lock"):
        raise NotRunningError(f"no stack runs in {folder}: start one with `make dev`")
    try:
        description: dict[str, Any] = json.loads((folder / "stack.json").read_text())
    except FileNotFoundError:
        raise NotRunningError(f"the stack in {folder} is only starting: try again in a moment") from None
    return description


def _is_held(lock: Path) -> bool:
    """Whether a process holds the lock; a killed one holds it no more, whatever file it left."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@asynccontextmanager
async def ended_by_sigterm() -> AsyncIterator[None]:
    """SIGTERM cancels this task, as Ctrl-C does, so what is open inside is closed in order."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(f"a stack already runs in {folder}") from None
        yield
