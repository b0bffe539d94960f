"""`kb outbox`: what an operator may do to the outbox of one service."""

import asyncio
import json
from dataclasses import dataclass
from typing import Annotated, Final, NoReturn

import asyncpg
import typer

from infra import databases
from infra.asking import UNREACHABLE, why
from infra.desk import yourself
from infra.parts import ROOT
from services.chassis import outbox_reset
from services.chassis.relay import FUTURE_CURSORS

outbox = typer.Typer(no_args_is_help=True, help=__doc__)

# The relays wait for this lock, so that none begins between the question and the end of the reset.
LOCK_SHARDS: Final = "lock table outbox_shard in exclusive mode"
PUBLISHING: Final = "select count(*) from outbox_shard where lease_until >= clock_timestamp()"
WHAT_IT_DOES: Final = """
A reset writes what is not published yet into the outbox once more, under the ids its events have, empties
the rest, and lets every cursor start from now. It loses nothing. An event that was sent just before the dump
may be sent again; whoever hears it twice knows it by its id.
"""


@outbox.callback()
def about() -> None:
    """Commands about the outbox of one service."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a reset would meet."""

    foreign: list[int]
    """Partitions whose cursor is ahead of this server's transactions."""
    publishing: int
    """Partitions that a living relay publishes now."""


@outbox.command()
def reset(
    service: Annotated[str, typer.Option(help="Whose outbox: orders, inventory, payments.")],
    reason: Annotated[str, typer.Option(help="Why; it is written into the operators' log.")],
    database: Annotated[
        str | None, typer.Option(help="DSN of that database, as an administrator; a stack knows its own.")
    ] = None,
    instance: Annotated[str, typer.Option(help="Which stack of this checkout.")] = "demo",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Let a service publish again whose database was restored from a dump."""
    if not reason.strip():
        _refuse("say why: the operators' log takes nothing without a reason")
    dsn = database or _of_stack(instance, service)
    try:
        found = asyncio.run(_look(dsn))
        typer.echo(_described(service, found))
        if not yes:
            typer.confirm("Reset it?", abort=True)
        count = asyncio.run(_reset(dsn, service, reason))
    except UNREACHABLE as error:
        _refuse(f"not possible: {why(error)}; `kb doctor` says what is up and what to do")
    if count is None:
        _refuse("a relay publishes from this outbox, so its cursors are sound: stop the service first")
    typer.echo(f"{count} events will be published; a relay that is up begins within seconds")


def _of_stack(instance: str, service: str) -> str:
    try:
        told = json.loads((ROOT / ".run" / instance / "stack.json").read_text())
    except FileNotFoundError:
        _refuse(f"no stack `{instance}` runs here: start one with `make dev`, or give --database")
    if service not in databases.SERVICES:
        _refuse(f"there is no outbox of `{service}`: {', '.join(databases.SERVICES)}")
    return databases.database_dsn(told["addresses"]["postgres"], f"kb_{service}")


async def _look(dsn: str) -> Found:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        foreign = await connection.fetchval(FUTURE_CURSORS) or []
        return Found(foreign, await connection.fetchval(PUBLISHING))
    finally:
        await connection.close()


def _described(service: str, found: Found) -> str:
    if found.foreign:
        state = (
            f"The cursors of partitions {found.foreign} of {service} are of another server's transactions."
        )
    else:
        state = f"The cursors of {service} are of this server: there is no need to reset them."
    return f"{state}\n{WHAT_IT_DOES}"


async def _reset(dsn: str, service: str, reason: str) -> int | None:
    """How many events were unpublished; None, and nothing done, while a relay publishes."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute(LOCK_SHARDS)
            if await connection.fetchval(PUBLISHING):
                return None
            return await outbox_reset.reset(connection, service, actor=yourself(), reason=reason)
    finally:
        await connection.close()


def _refuse(reason: str) -> NoReturn:
    typer.secho(reason, err=True, fg="red")
    raise typer.Exit(2)
