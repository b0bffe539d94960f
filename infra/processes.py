"""Starts programs that end with us, and ends them in order."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BOUND = Path(__file__).with_name("bound.py")
STOP_WITHIN_S = 15.0
LAST_LINES = 20
LONGEST_LINE = 300
LOOKS_EVERY_S = 0.05


class StartFailedError(RuntimeError):
    """A program ended, or did not answer in time; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to run one program: what to start, when it serves, how it is told to end.

    `death_signal` is what the kernel sends it when we end without having stopped it.
    """

    name: str
    command: Sequence[str]
    log: Path
    answers: Callable[[], Awaitable[bool]]
    env: Mapping[str, str]
    cwd: Path | None = None
    user: str | None = None
    death_signal: signal.Signals = signal.SIGKILL
    stop_signal: signal.Signals = signal.SIGTERM
    starts_within_s: float = 60.0


async def start(program: Program) -> asyncio.subprocess.Process:
    """Runs it with its output appended to its log, bound to this process.

    Call it from a thread that lives as long as the child shall: the kernel watches the thread.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    bound = [sys.executable, "-I", "-S", str(BOUND), str(os.getpid()), str(int(program.death_signal))]
    with program.log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *bound,
            program.user or "-",
            *program.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(program.env),
            cwd=program.cwd,
        )


async def serve(program: Program) -> asyncio.subprocess.Process:
    """Runs it and returns once it answers; when it does not, it is ended and StartFailedError says why."""
    process = await start(program)
    try:
        await wait_until_it_answers(program, process)
    except BaseException:
        await stop(process, signal.SIGKILL)
        raise
    return process


async def wait_until_it_answers(program: Program, process: asyncio.subprocess.Process) -> None:
    """Fails when the process ends or its time to start is up."""
    try:
        async with asyncio.timeout(program.starts_within_s):
            while not await program.answers():
                if process.returncode is not None:
                    raise StartFailedError(_said(program, f"ended with code {process.returncode}"))
                await asyncio.sleep(LOOKS_EVERY_S)
    except TimeoutError:
        failure = f"did not answer within {program.starts_within_s:g} s"
        raise StartFailedError(_said(program, failure)) from None


async def run(program: Program) -> None:
    """Runs it to its end, which must be a good one."""
    process = await start(program)
    if await process.wait() != 0:
        raise StartFailedError(_said(program, f"ended with code {process.returncode}"))


async def stop(
    process: asyncio.subprocess.Process,
    first: signal.Signals = signal.SIGTERM,
    within_s: float = STOP_WITHIN_S,
) -> int:
    """Asks with `first`, insists with SIGKILL after `within_s`; returns the exit code."""
    if process.returncode is None:
        send(process, first)
        try:
            async with asyncio.timeout(within_s):
                return await process.wait()
        except TimeoutError:
            send(process, signal.SIGKILL)
    return await process.wait()


def send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return  # it ended by itself a moment ago, which is what was wanted


def _said(program: Program, what: str) -> str:
    """What happened, and what the program itself said last."""
    return f"{program.name} {what}; its log ends:\n{tail(program.log)}"


async def never_asked() -> bool:
    """For a program that runs to its end and serves nobody."""
    return True


def tail(log: Path, lines: int = LAST_LINES) -> str:
    """The last lines of a log, for a message that a person reads."""
    if not log.exists():
        return ""
    last = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(line[:LONGEST_LINE] for line in last)


async def accepts(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
