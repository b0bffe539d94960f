"""`kb doctor`: every check in turn, each finding with what to do; an exit code for whether there was one."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from infra import places
from infra.asking import UNREACHABLE, asking, why
from infra.databases import SERVICES
from infra.doctor import machine, tables, topics, work
from infra.doctor.findings import (
    Check,
    Examined,
    Finding,
    Patient,
    of_broker,
    of_databases,
    of_keys,
    of_stack,
)
from infra.find.command import topics_of
from infra.places import NowhereError, Place, place_of

CHECKS: Final[Sequence[Check]] = (
    Check("stack", "it runs", machine.running, of_stack),
    Check("processes", "every process is ready", machine.processes, of_stack),
    Check("disk", "there is room", machine.disk, of_stack),
    Check("keys", "the key set can be read", machine.keys, of_keys),
    Check("databases", "every database answers", tables.databases),
    Check("schemas", "they are this release's", tables.schemas, of_databases),
    Check("clocks", "databases and this machine agree", tables.clocks, of_databases),
    Check("broker", "it answers", topics.broker),
    Check("topics", "they are as the contracts say", topics.contracts, of_broker),
    Check("groups", "every service reads", topics.groups, of_broker),
    Check("lag", "nobody is late", topics.lag, of_broker),
    Check("relays", "every partition is published by somebody", tables.relays, of_databases),
    Check("outboxes", "nothing waits to be published", tables.outboxes, of_databases),
    Check("parked", "no record is set aside", tables.parked, of_databases),
    Check("reconcilers", "every duty succeeds in its time", tables.reconcilers, of_databases),
    Check("work", "nothing is past its time", work.work, of_databases),
    Check("answers", "everything asked was answered", tables.answers, of_databases),
)


def doctor_command(
    instance: places.Instance = "demo",
    database: places.Database = None,
    kafka: places.Kafka = None,
    topic_prefix: places.Prefix = "",
    jwks: Annotated[Path | None, typer.Option(help="The key set; a stack knows its own.")] = None,
    least_free: Annotated[float, typer.Option(help="GiB that must be free below a stack.")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings here.")] = None,
) -> None:
    """Examine the whole installation, also one that is down; exit code 1 when something is wrong."""
    console = Console(soft_wrap=True, highlight=False)
    try:
        place = place_of(instance, database, kafka, topic_prefix)
    except NowhereError as error:
        console.print(Text(f"wrong: {error}", style="red"))
        raise typer.Exit(1) from None
    examined = asyncio.run(examine(place, jwks or place.jwks, round(least_free * machine.GIB)))
    _show(examined, console)
    if json_file is not None:
        json_file.write_text(json.dumps(_as_json(examined), indent=2))
    if any(one.findings for one in examined):
        raise typer.Exit(1)


async def examine(place: Place, jwks: Path | None, least_free_bytes: int) -> list[Examined]:
    """What each check finds, and which could not be made."""
    async with asking(place.databases) as asked, topics_of(place, asked) as there:
        patient = Patient(place, asked, there, jwks, least_free_bytes)
        return [await _examined(check, patient) for check in CHECKS]


async def _examined(check: Check, patient: Patient) -> Examined:
    if unseen := check.unseen(patient):
        return Examined(check, [], unseen)
    asked = patient.asked.sessions
    partly = check.unseen is of_databases and len(asked) < len(SERVICES)
    try:
        findings = await check.look(patient)
        return Examined(check, findings, partly=f" (of {', '.join(asked)})" if partly else "")
    except UNREACHABLE as error:
        finding = Finding(f"this could not be looked at: {why(error)}", "is that part of the system up?")
        return Examined(check, [finding])


def _show(examined: list[Examined], console: Console) -> None:
    for check, findings, unseen, partly in examined:
        if unseen:
            console.print(Text(f"?      {check.name}: not looked at, {unseen}", style="yellow"))
        elif not findings:
            console.print(Text(f"ok     {check.name}: {check.about}{partly}", style="green"))
        for one in findings:
            console.print(Text(f"wrong  {check.name}: {one.what}", style="red"))
            console.print(Text(f"       do: {one.do}"))
    count = sum(len(one.findings) for one in examined)
    console.print(Text(f"{count} findings" if count else "nothing is wrong", style="bold"))


def _as_json(examined: list[Examined]) -> dict[str, object]:
    return {
        "findings": {one.check.name: [found._asdict() for found in one.findings] for one in examined},
        "not_looked_at": {one.check.name: one.unseen for one in examined if one.unseen},
    }
