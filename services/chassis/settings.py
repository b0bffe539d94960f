"""Settings: what every service reads from its environment, once, at its start."""

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

PREFIX: Final = "KB_"
NEARLY: Final = 0.85
"""A variable so like one of ours that is none is misspelt; those of other programs are less like it."""


class ServiceSettings(BaseSettings):
    """The settings all services share; a service adds its own in its `settings.py`. Prefix `KB_`."""

    # What is refused may hold a password; an empty variable is one that nobody set.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    NEVER_EMPTY: ClassVar[tuple[str, ...]] = ()
    """What must not fall back to its default because somebody's template left it empty."""

    host: str = "127.0.0.1"
    port: int = 0
    instance: str = "0"
    """This replica's name, unique and stable over its restarts: a static member of the consumer group."""
    kafka: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    issuer: str = "https://dev.kbstylish.local"
    audience: str = "kb-api"
    jwks_file: Path = Path("jwks.json")
    otlp_endpoint: str | None = None
    trace_ratio: float = Field(default=0.02, ge=0, le=1)
    """The share of orders that is recorded whole, which doubles their CPU; whoever asks with a sampled
    `traceparent` is recorded, too."""
    log_level: str = "info"


class OwnerSettings(ServiceSettings):
    """The settings of a service that owns tables."""

    database_url: str
    pool_size: int = Field(default=10, ge=2, le=64)
    batch_size: int = Field(default=500, ge=1, le=500)
    """At most so many records are taken together; never waited for."""
    parked_edits: bool = False
    """Whether operators may put other bytes into the place of a parked record's."""
    outbox_most_rows: int = Field(default=20_000, ge=1, le=1_000_000)
    """With more rows unpublished, no new work is taken that would tell more (503 `OUTBOX_BACKLOG`)."""
    outbox_most_age_s: float = Field(default=120.0, gt=0)
    """Likewise when the oldest unpublished row is older than this."""


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


class UnfitSettingsError(Exception):
    """The environment is not one to start with; the message names every problem, and no value."""


def read(settings: type[SettingsT]) -> SettingsT:
    """The settings, from the environment; raises UnfitSettingsError."""
    misspelt = [*_misspelt(settings), *_left_empty(settings)]
    try:
        found = settings()
    except ValidationError as error:
        wrong = [_problem(one["loc"], one["msg"]) for one in error.errors(include_input=False)]
        raise _unfit([*misspelt, *wrong]) from None
    except SettingsError as error:
        raise _unfit([*misspelt, f"{error}: not a list in JSON"]) from None
    if misspelt:
        raise _unfit(misspelt)
    return found


def _unfit(problems: Sequence[str]) -> UnfitSettingsError:
    return UnfitSettingsError(
        "cannot start with these settings:\n" + "\n".join(f"  {one}" for one in problems)
    )


def _problem(where: tuple[int | str, ...], what: str) -> str:
    name = f"{PREFIX}{str(where[0]).upper()}: " if where else ""
    return f"{name}{what.removeprefix('Value error, ')}"


def _left_empty(settings: type[ServiceSettings]) -> Iterator[str]:
    for name in settings.NEVER_EMPTY:
        if os.environ.get(f"{PREFIX}{name.upper()}") == "":
            yield f"{PREFIX}{name.upper()}: it is empty; leave it out, or say what it is"


def _misspelt(settings: type[ServiceSettings]) -> Iterator[str]:
    """Variables that nothing reads and that were meant for us, by the look of them."""
    known = [f"{PREFIX}{name.upper()}" for name in settings.model_fields]
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            for meant in get_close_matches(name, known, 1, NEARLY):
                yield f"{name}: there is no such setting; {meant} is meant?"
