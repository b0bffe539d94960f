"""What the commands about events have in common: topics by name, times as people say them, refusals."""

import asyncio
import re
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, TypeVar

import typer

from contracts.topics import BY_NAME, Topic
from infra.asking import UNREACHABLE, why
from infra.places import NowhereError, Place, place_of

REFUSED: Final = 2
AGO: Final = re.compile(r"(\d{1,6})\s*([smhd])")
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
T = TypeVar("T")


def refuse(reason: str) -> NoReturn:
    """Say what is wrong and what to do, and end with exit code 2."""
    typer.secho(reason, err=True, fg="red")
    raise typer.Exit(REFUSED)


def topic_named(name: str) -> Topic:
    """The topic of that name in the contracts."""
    if name not in BY_NAME:
        refuse(f"there is no topic `{name}`; there are: {', '.join(BY_NAME)}")
    return BY_NAME[name]


def instant(text: str) -> datetime:
    """`10m` (ago), or an ISO time; without a zone it is UTC."""
    if ago := AGO.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"`{text}` is no time: write 30s, 10m, 2h, 1d (ago) or 2026-01-15T06:30:00Z")
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def where(
    instance: str, database: list[str] | None = None, kafka: str | None = None, prefix: str = ""
) -> Place:
    """The place, its broker known; refused otherwise."""
    try:
        place = place_of(instance, database, kafka, prefix)
    except NowhereError as error:
        refuse(str(error))
    if place.kafka is None:
        refuse("give --kafka too: this is about topics")
    return place


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result; what cannot be reached is said in one line."""
    try:
        return asyncio.run(work)
    except UNREACHABLE as error:
        refuse(f"not possible: {why(error)}; `kb doctor` says what is up and what to do")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
