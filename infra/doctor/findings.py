"""What an examination is made of: the installation as far as it answers, checks, and what they find."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from infra.asking import Asking
from infra.places import Place
from infra.topic_reading import Topics


class Finding(NamedTuple):
    """Something that is wrong, and what a person can do about it."""

    what: str
    do: str


@dataclass(frozen=True, slots=True)
class Patient:
    """An installation that is examined; what does not answer is said by the check whose subject it is."""

    place: Place
    asked: Asking
    topics: Topics | None
    jwks: Path | None
    least_free_bytes: int


Look: TypeAlias = Callable[[Patient], Awaitable[list[Finding]]]


def always(_: Patient) -> str | None:
    """Can be asked of anything."""
    return None


def of_stack(patient: Patient) -> str | None:
    """Asked of a stack of this checkout only."""
    return None if patient.place.folder is not None else "this is no stack of this checkout"


def of_keys(patient: Patient) -> str | None:
    return None if patient.jwks is not None else "nobody said where the key set is (--jwks)"


def of_broker(patient: Patient) -> str | None:
    return None if patient.topics is not None else "the broker cannot be asked"


def of_databases(patient: Patient) -> str | None:
    return None if patient.asked.sessions else "no database can be asked"


class Check(NamedTuple):
    """One question about an installation; `about` is what an answer without findings means.

    `unseen` says why the question cannot be asked at all: that is no good news, and not told as such.
    """

    name: str
    about: str
    look: Look
    unseen: Callable[[Patient], str | None] = always


class Examined(NamedTuple):
    """What came of a check; `unseen` if nobody looked, `partly` if not everywhere."""

    check: Check
    findings: list[Finding]
    unseen: str | None = None
    partly: str = ""
