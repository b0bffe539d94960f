"""`kb find`: look an id up, gather its story from everybody who answers, print it."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from infra import places
from infra.asking import UNREACHABLE, Asking, asking, why
from infra.find.awaited import awaited
from infra.find.facts import Facts, gather
from infra.find.story import Line, rupees, story
from infra.find.subjects import Known, look_up
from infra.find.verdict import where_and_why
from infra.places import NowhereError, Place, place_of
from infra.topic_reading import Topics, reading
from services.orders.reconcilers import Limits
from services.orders.settings import OrdersSettings

UNKNOWN, CANNOT_LOOK = 1, 2


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What an id leads to; `known` is None when nobody who could be asked knows it."""

    known: Known | None
    stories: list[Facts]
    silent: dict[str, str]


def find_command(
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of an order, checkout, item, attempt, charge, refund, case, event, customer or trace; "
            "an order number; a reference of the payment gateway; a parked record.",
        ),
    ],
    instance: places.Instance = "demo",
    database: places.Database = None,
    kafka: places.Kafka = None,
    topic_prefix: places.Prefix = "",
    as_json: Annotated[bool, typer.Option("--json", help="The story as JSON.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Print the whole story behind any id; exit code 1 if nobody knows it, 2 if not all could be asked."""
    try:
        place = place_of(instance, database, kafka, topic_prefix)
    except NowhereError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(CANNOT_LOOK) from None
    found = asyncio.run(find(wanted, place))
    say_silent(found)
    if found.known is None:
        say_unknown(wanted, found)
    elif as_json:
        typer.echo(json.dumps([_as_json(one) for one in found.stories], default=str, indent=2))
    else:
        _show(wanted, found, Console(soft_wrap=True, highlight=False))


async def find(wanted: str, place: Place) -> Found:
    """The stories behind an id, of those parts that answer."""
    async with asking(place.databases) as asked, topics_of(place, asked) as topics:
        try:
            known = await look_up(wanted, asked, topics)
        except UNREACHABLE as error:
            asked.silent["kafka"] = why(error)
            known = None
        stories = [await gather(key, asked, topics) for key in known.keys] if known else []
        return Found(known, stories, dict(asked.silent))


@asynccontextmanager
async def topics_of(place: Place, asked: Asking) -> AsyncIterator[Topics | None]:
    """The topics, or None and a word in `asked.silent` when the broker does not answer."""
    if place.kafka is None:
        asked.silent["kafka"] = "nobody said where it is"
        yield None
        return
    # Entered by hand: an error of the block must not look like one of the broker.
    opened = reading(place.kafka, place.prefix)
    try:
        topics = await opened.__aenter__()
    except UNREACHABLE as error:
        asked.silent["kafka"] = why(error)
        yield None
        return
    try:
        yield topics
    finally:
        await opened.__aexit__(None, None, None)


def limits_here() -> Limits:
    """The time limits of the stages, as this environment sets them for orders."""
    return OrdersSettings(database_url="", address_key_file=Path()).limits


def say_silent(found: Found) -> None:
    """Who could not be asked, and why."""
    for service, reason in found.silent.items():
        typer.secho(f"could not ask {service}: {reason}", err=True, fg="red")


def say_unknown(wanted: str, found: Found) -> NoReturn:
    """Nobody knows it; ends the command with the exit code for how sure that is."""
    if found.silent:
        typer.secho(f"`{wanted}` is unknown to those who could be asked", err=True, fg="red")
        raise typer.Exit(CANNOT_LOOK)
    typer.secho(
        f"nobody knows `{wanted}`: no service and no topic has it. Is it of another installation, "
        "or older than topics and outboxes are kept?",
        err=True,
        fg="red",
    )
    raise typer.Exit(UNKNOWN)


# ----- on paper


def _show(wanted: str, found: Found, console: Console) -> None:
    assert found.known is not None
    for facts in found.stories:
        console.print(Text(f"{found.known.kind} {wanted}: order {facts.key}", style="bold"))
        console.print(_heading(facts))
        for line in story(facts):
            console.print(_line(line))
        for one in awaited(facts, limits_here()):
            console.print(Text(f"awaits {one.line(facts.now)}"))
        console.print(Text(f"Where it is: {where_and_why(facts)}", style="bold"))


def _heading(facts: Facts) -> Text:
    checkout, order = facts.one("checkout"), facts.one("order")
    said = []
    if order is not None:
        said.append(f"number {order['order_number']}")
    if checkout is not None:
        total = rupees(checkout["total_paisa"]) if checkout["total_paisa"] is not None else "not priced yet"
        said += [f"customer {checkout['customer_id']}", checkout["method"], total]
    said += [f"trace {one}" for one in facts.trace_ids[:1]]
    return Text(" · ".join(said))


def _line(line: Line) -> Text:
    """Whole, however narrow the terminal: it is searched, and names are copied from it."""
    at = f"{line.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return Text(f"{at} {line.service:<9} {line.kind:<8} {line.text}")


def _as_json(facts: Facts) -> dict[str, Any]:
    return {
        "order_id": facts.key,
        "trace_ids": facts.trace_ids,
        "story": [dataclasses.asdict(line) for line in story(facts)],
        "awaited": [dataclasses.asdict(one) for one in awaited(facts, limits_here())],
        "where_it_is": where_and_why(facts),
        "not_asked": dict(facts.silent),
    }
