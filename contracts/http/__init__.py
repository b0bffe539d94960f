"""The bodies of HTTP requests and answers, one module per service; the gateway speaks the same classes."""

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

CANONICAL_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)")
FIRST_YEAR, LAST_YEAR = 2020, 2100


def _canonical_id(value: object) -> UUID:
    """Only the 36 lower-case characters of RFC 9562: one id has one spelling, in logs as in keys."""
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str) or not CANONICAL_ID.fullmatch(value):
        raise ValueError("an id is a UUID in its canonical form")
    return UUID(value)


def _instant(value: object) -> datetime:
    """RFC 3339 with an offset, 2020 to 2100: nothing that a driver would read as local time or infinity."""
    if isinstance(value, str) and INSTANT.fullmatch(value):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("a time is RFC 3339 with an offset")
    if not FIRST_YEAR <= value.astimezone(UTC).year < LAST_YEAR:
        raise ValueError(f"a time lies between {FIRST_YEAR} and {LAST_YEAR}")
    return value.astimezone(UTC)


def _zulu(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Id = Annotated[UUID, BeforeValidator(_canonical_id)]
"""An id in a body, a path or a query."""
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(_zulu, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant in a body; UTC with `Z` on the wire."""
PathSku = Annotated[str, Field(min_length=1, max_length=200)]


class Ask(BaseModel):
    """A request body: strict about types, closed to fields it does not know.

    Ids are `Id` and times `Instant`; a list is declared as `list[...]`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Answer(BaseModel):
    """A body we answer with; whoever reads it ignores fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")
