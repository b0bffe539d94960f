"""`kb audit`: gather the world, judge every promise, say what was found."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import httpx2
import typer
from rich.console import Console

from infra import asking
from infra.asking import why
from infra.audit import events, money, orders, quiet, stock
from infra.audit.always import always
from infra.audit.broker import connect
from infra.audit.promises import PROMISES, Promise, judge
from infra.audit.report import Judged, Report, show
from infra.audit.world import connections, world_of

FAMILIES: Final = (money, stock, orders, events)
"""Importing a family registers its promises; they are told in this order."""

UNREACHABLE: Final = (*asking.UNREACHABLE, httpx2.HTTPError)

ROOT: Final = Path(__file__).parents[2]


async def audit(
    *,
    databases: Mapping[str, str],
    kafka: str,
    topic_prefix: str = "",
    truth_url: str | None = None,
    wait_quiet_s: float = 30,
) -> Report:
    """Judge every promise over these databases (service -> DSN) and all topics of the broker.

    Waits at most `wait_quiet_s` seconds for the system to be quiet; what still moves then is in the report.
    `truth_url`: the control face of the gateway simulator. Changes nothing anywhere.
    """
    started = time.monotonic()
    async with connections(databases) as opened, connect(kafka, topic_prefix) as broker:
        moving = await quiet.wait(opened, broker, wait_quiet_s)
        async with world_of(opened, broker, truth_url) as world:
            judged = [Judged(one, await judge(one, world)) for one in _in_order(PROMISES)]
    return Report(tuple(judged), moving, time.monotonic() - started)


def _in_order(promises: Iterable[Promise]) -> list[Promise]:
    families = [family.__name__ for family in FAMILIES]
    return sorted(promises, key=lambda one: families.index(one.check.__module__))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where an installation answers."""

    databases: dict[str, str]
    kafka: str
    truth: str | None


def audit_command(  # noqa: PLR0913, PLR0917 - the options of a command are given by name
    instance: Annotated[str, typer.Option(help="Which stack of this checkout.")] = "demo",
    database: Annotated[
        list[str] | None, typer.Option(help="service=DSN; for an installation that is not a stack.")
    ] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap address, with --database.")] = None,
    topic_prefix: Annotated[str, typer.Option(help="What this installation's topics begin with.")] = "",
    truth: Annotated[str | None, typer.Option(help="Control URL of the gateway simulator.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a quiet system.")] = 30.0,
    require_work: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--require-work", help="Fail also when a promise had nothing to look at.")
    ] = False,
    now: Annotated[  # noqa: FBT002 - likewise
        bool, typer.Option("--now", help="Only what must hold at any moment in one database; no waiting.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings here.")] = None,
) -> None:
    """Check every promise against all databases and topics; exit code 1 if one is broken."""
    where = _given(database, kafka, truth) if database or kafka else _of_stack(instance, truth)
    looking = always(where.databases) if now else audit(
        databases=where.databases,
        kafka=where.kafka,
        topic_prefix=topic_prefix,
        truth_url=where.truth,
        wait_quiet_s=wait,
    )  # fmt: skip
    try:
        report = asyncio.run(looking)
    except UNREACHABLE as error:
        typer.secho(
            f"cannot look: {why(error)}; `kb doctor` says what is up and what to do", err=True, fg="red"
        )
        raise typer.Exit(2) from None
    show(report, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2))
    if not report.ok or (require_work and report.idle):
        raise typer.Exit(1)


def _given(databases: list[str] | None, kafka: str | None, truth: str | None) -> Addresses:
    named = dict(one.partition("=")[::2] for one in databases or ())
    if not kafka or not named or not all(named.values()):
        raise typer.BadParameter("give --kafka and, for each service, --database service=DSN")
    return Addresses(named, kafka, truth)


def _of_stack(instance: str, truth: str | None) -> Addresses:
    """What a running stack wrote down about itself."""
    try:
        told: dict[str, Any] = json.loads((ROOT / ".run" / instance / "stack.json").read_text())
    except FileNotFoundError:
        typer.secho(f"no stack `{instance}` runs here: start one with `make dev`", err=True, fg="red")
        raise typer.Exit(2) from None
    addresses = told["addresses"]
    return Addresses(told["databases"], addresses["kafka"], truth or addresses.get("esewa-control"))
