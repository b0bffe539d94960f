"""`kb restart`: the services of a running stack begin anew, one process after another or all at once."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final

import httpx2
import typer

from infra.installation import NotRunningError
from infra.operators import refuse
from infra.parts import ROOT, SERVICES
from infra.processes import STOP_WITHIN_S
from infra.stack import describe

READY_WITHIN_S: Final = 60.0
LOOKS_EVERY_S: Final = 0.05
ORDER: Final = ("inventory", "payments", "orders", "gateway")
"""Doors last: a gateway that begins anew finds everything behind it there."""

Say = Callable[[str], None]


class RestartError(RuntimeError):
    """It was stopped half way; the message says why and how things stand."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """How one process ended that was asked to, and how long its callers had to do without it."""

    name: str
    code: int
    """As its supervision saw it; 0: it had finished what it had begun."""
    stop_s: float
    """From SIGTERM to its end."""
    away_s: float
    """From SIGTERM until the next one was ready."""

    def __str__(self) -> str:
        return f"{self.name} ended with {self.code} after {self.stop_s:.1f} s, back after {self.away_s:.1f} s"


async def roll(folder: Path, services: Sequence[str] = SERVICES, say: Say = print) -> list[Restarted]:
    """One process after another; the next only once this one is ready again.

    Raises RestartError before it would take the last replica of a service that is ready away.
    """
    names, done = _names(describe(folder), services), []
    for name in names:
        others = [one for one in names if one != name and _service(one) == _service(name)]
        for other in others:
            if not await _is_ready(describe(folder), other):
                raise RestartError(f"{name} is left running: {other} is not ready")
        if not others:
            say(f"{name} has no other replica: its callers are refused until it is back")
        done.append(await restart(folder, name))
        say(str(done[-1]))
    return done


async def restart(folder: Path, name: str) -> Restarted:
    """SIGTERM, wait for its end; the supervision of the stack starts it again; wait until it is ready."""
    before: int = describe(folder)["processes"][name]
    began = monotonic()
    with suppress(ProcessLookupError):  # it has fallen just now: then it is on its way already
        os.kill(before, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            while _lives(before):  # noqa: ASYNC110 - what is awaited lives in other processes
                await asyncio.sleep(LOOKS_EVERY_S)
    except TimeoutError:
        raise RestartError(f"{name} did not end within {STOP_WITHIN_S:g} s: see its log") from None
    ended = monotonic()
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while not await _is_back(describe(folder), name, before):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(LOOKS_EVERY_S)
    except TimeoutError:
        raise RestartError(f"{name} was not ready within {READY_WITHIN_S:g} s: see its log") from None
    return Restarted(name, _code(describe(folder), name, before), ended - began, monotonic() - began)


def _code(stack: dict[str, Any], name: str, pid: int) -> int:
    """What that process ended with, as its supervision wrote it down before it started the next one."""
    ended = stack["ended"].get(name)
    if ended is None or ended["pid"] != pid:
        raise RestartError(f"{name} fell once more on its way up: see its log")
    return int(ended["code"])


def _names(stack: dict[str, Any], services: Sequence[str]) -> list[str]:
    every = [name for service in ORDER for name in stack["processes"] if _service(name) == service]
    return [name for name in every if name in services or _service(name) in services]


def _service(name: str) -> str:
    return name.rpartition("-")[0]


async def _is_back(stack: dict[str, Any], name: str, before: int) -> bool:
    return bool(stack["processes"].get(name) not in (None, before)) and await _is_ready(stack, name)


async def _is_ready(stack: dict[str, Any], name: str) -> bool:
    try:
        async with httpx2.AsyncClient(timeout=2.0, trust_env=False) as client:
            return (await client.get(f"{stack['addresses'][name]}/readyz")).is_success
    except httpx2.HTTPError:
        return False


def _lives(pid: int) -> bool:
    """Whether it runs; one that ended and nobody has asked after yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def restart_command(
    names: Annotated[list[str] | None, typer.Argument(help="Services or processes; all by default.")] = None,
    rolling: Annotated[bool, typer.Option("--rolling", help="One process after another.")] = False,  # noqa: FBT002
    instance: Annotated[str, typer.Option(help="Which stack of this checkout.")] = "demo",
) -> None:
    """Begin anew: each process finishes what it has begun, ends, and is started again."""
    folder, services = ROOT / ".run" / instance, names or list(SERVICES)
    try:
        known = _names(describe(folder), services)
        if not known:
            refuse(f"nothing is called {', '.join(services)}: {', '.join(describe(folder)['processes'])}")
        if rolling:
            asyncio.run(roll(folder, services, typer.echo))
        else:
            asyncio.run(_all(folder, known))
    except NotRunningError as error:
        refuse(str(error))
    except RestartError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(1) from None


async def _all(folder: Path, names: Sequence[str]) -> None:
    async with asyncio.TaskGroup() as group:
        begun = [group.create_task(restart(folder, name)) for name in names]
    for one in begun:
        typer.echo(str(one.result()))
