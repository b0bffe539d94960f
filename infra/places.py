"""Where an installation answers: a stack of this checkout says so itself, of another one we are told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.parts import ROOT

Instance = Annotated[str, typer.Option("--instance", help="Which stack of this checkout.")]
Database = Annotated[
    list[str] | None,
    typer.Option("--database", help="service=DSN; for an installation that is not a stack."),
]
Kafka = Annotated[str | None, typer.Option("--kafka", help="Bootstrap address, with --database.")]
Prefix = Annotated[str, typer.Option("--topic-prefix", help="What this installation's topics begin with.")]


class NowhereError(RuntimeError):
    """There is no such installation, or not enough was said about it; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses of one installation; what nobody told us is None or missing."""

    databases: Mapping[str, str] = field(default_factory=dict)
    kafka: str | None = None
    prefix: str = ""
    services: Mapping[str, str] = field(default_factory=dict)
    """URL of every process by name: `orders-0`, `gateway-1`."""
    jwks: Path | None = None
    folder: Path | None = None
    """Where a stack keeps its data."""


def place_of(
    instance: str, database: list[str] | None = None, kafka: str | None = None, prefix: str = ""
) -> Place:
    """What was given, or else the stack of that name; raises NowhereError."""
    if database or kafka:
        return Place(_named(database or []), kafka, prefix)
    return _of_stack(instance, prefix)


def _named(given: list[str]) -> dict[str, str]:
    named = dict(one.partition("=")[::2] for one in given)
    if not all(named.values()):
        raise NowhereError("--database is written service=DSN, once for each service")
    return named


def _of_stack(instance: str, prefix: str) -> Place:
    folder = ROOT / ".run" / instance
    try:
        told: dict[str, Any] = json.loads((folder / "stack.json").read_text())
    except FileNotFoundError:
        raise NowhereError(
            f"no stack `{instance}` runs here: start one with `make dev`, "
            "or say where everything is with --database and --kafka"
        ) from None
    addresses = told["addresses"]
    processes = {name: url for name, url in addresses.items() if name[-1:].isdigit()}
    return Place(
        told["databases"], addresses.get("kafka"), prefix, processes, Path(told.get("jwks", "")), folder
    )
