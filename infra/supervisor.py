"""Keeps programs running: a dead one is started again, after a pause that grows while it keeps dying."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from infra import processes
from infra.processes import Program

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
STEADY_AFTER_S = 10.0  # who ran this long is no longer in a crash loop


class State(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"
    DONE = "done"


Report = Callable[[str, State, str], None]
"""Told (name, state, detail) whenever something changes."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process under supervision ended; the next one of its program has another pid."""

    pid: int
    code: int
    """As the operating system gives it; below 0: the signal that ended it."""


class Supervised:
    """One program under supervision, from `begin` to `end`."""

    def __init__(self, program: Program, report: Report) -> None:
        self.program = program
        self.ended: Ended | None = None
        """The process that ended last, unless it was the supervision itself that ended it."""
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process that runs now, or ran last."""
        assert self._process is not None, f"{self.program.name} was never started"
        return self._process

    @property
    def started(self) -> bool:
        return self._process is not None

    async def begin(self) -> None:
        """Returns once it answers; raises StartFailedError when its first start fails."""
        self._report(self.program.name, State.STARTING, "")
        self._process = await processes.serve(self.program)
        self._became_ready()
        self._watch = asyncio.create_task(self._keep_running(), name=f"keep {self.program.name} running")

    def kill(self) -> None:
        """SIGKILL; the supervision starts it again."""
        self._ready.clear()
        processes.send(self.process, signal.SIGKILL)

    async def wait_ready(self, within_s: float) -> None:
        """Returns when it answers; raises TimeoutError otherwise."""
        async with asyncio.timeout(within_s):
            await self._ready.wait()

    async def end(self) -> None:
        """Ends the supervision, then the process."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        if self._process is not None:
            await processes.stop(self._process, self.program.stop_signal)
            self._report(self.program.name, State.STOPPED, "")

    async def _keep_running(self) -> None:
        pause_s, began_at = FIRST_PAUSE_S, time.monotonic()
        while True:
            code = await self.process.wait()
            self.ended = Ended(self.process.pid, code)
            self._ready.clear()
            if time.monotonic() - began_at > STEADY_AFTER_S:
                pause_s = FIRST_PAUSE_S
            detail = f"ended with code {code}, starts again in {pause_s:g} s"
            self._report(self.program.name, State.RESTARTING, detail)
            await asyncio.sleep(pause_s)
            pause_s, began_at = min(2 * pause_s, LONGEST_PAUSE_S), time.monotonic()
            await self._restart()

    async def _restart(self) -> None:
        """Whatever comes of it, the loop above sees a process that runs or one that has ended."""
        try:
            self._process = await processes.start(self.program)
            await processes.wait_until_it_answers(self.program, self._process)
        except (
            processes.StartFailedError,
            OSError,
        ) as error:  # OSError: the machine has no room for a process
            self._report(self.program.name, State.FAILED, str(error))
            await processes.stop(self.process, signal.SIGKILL)
        else:
            self._became_ready()

    def _became_ready(self) -> None:
        self._ready.set()
        self._report(self.program.name, State.READY, f"pid {self.process.pid}")
