"""Starts programs that end with us, and ends them in order."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

BOUND = Path(__file__).with_name("bound.py")
STOP_WITHIN_S = 15.0
LAST_LINES = 20


class StartFailedError(RuntimeError):
    """A program ended, or did not answer in time; the message ends with the last lines of its log."""


async def start(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> asyncio.subprocess.Process:
    """Runs the command with its output appended to `log`; it gets `death_signal` when this process ends.

    Call it from a thread that lives as long as the child shall: the kernel watches the thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    bound = [sys.executable, "-I", "-S", str(BOUND), str(os.getpid()), str(int(death_signal)), user or "-"]
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *bound,
            *command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
        )


async def stop(
    process: asyncio.subprocess.Process,
    first: signal.Signals = signal.SIGTERM,
    within_s: float = STOP_WITHIN_S,
) -> int:
    """Asks with `first`, insists with SIGKILL after `within_s`; returns the exit code."""
    if process.returncode is None:
        _send(process, first)
        try:
            async with asyncio.timeout(within_s):
                return await process.wait()
        except TimeoutError:
            _send(process, signal.SIGKILL)
    return await process.wait()


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return  # it ended by itself a moment ago, which is what was wanted


async def wait_until(
    answers: Callable[[], Awaitable[bool]],
    process: asyncio.subprocess.Process,
    *,
    log: Path,
    within_s: float,
    name: str,
) -> None:
    """Returns once `answers` is true; fails when the process ends or the time is up."""
    try:
        async with asyncio.timeout(within_s):
            while not await answers():
                if process.returncode is not None:
                    raise StartFailedError(f"{name} ended with code {process.returncode}\n{tail(log)}")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise StartFailedError(f"{name} did not answer within {within_s:g} s\n{tail(log)}") from None


def tail(log: Path, lines: int = LAST_LINES) -> str:
    """The last lines of a log, for a message that a person reads."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


async def accepts(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
