"""What an operator asks of a service and is answered: parked records, looked at and put right."""

from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from contracts.http import Answer, Ask, Instant

MOST_NAMED: Final = 500
"""Records that one request may name one by one."""
MOST_REPLAYED: Final = 10_000
"""Records that one selection may name."""

Side: TypeAlias = Literal["in", "out"]
"""`in`: heard and not taken. `out`: told and refused by the broker."""
RecordName = Annotated[str, Field(pattern=r"^[a-z]{1,20}\.(in|out)\.[1-9][0-9]{0,17}$")]
"""`<service>.<side>.<number>`, for example `orders.in.17`."""
Why = Annotated[str, Field(min_length=3, max_length=500, pattern=r"\S")]
"""The operator's reason; it is kept."""
Text = Annotated[str, Field(min_length=1, max_length=200)]


class ParkedRecord(Answer):
    """A record that was set aside: `failure` is the class of its last error, `next_at` its next try."""

    record: str
    state: str
    topic: str
    key: str
    failure: str
    error: str
    attempts: int
    event_id: UUID | None
    trace_id: str | None
    first_failed_at: Instant
    last_failed_at: Instant
    next_at: Instant | None
    edited: bool
    outcome: str | None


class OperatorAction(Answer):
    """What somebody did, and why."""

    id: UUID
    at: Instant
    actor: UUID
    action: str
    reason: str
    detail: dict[str, Any]


class ParkedDetail(ParkedRecord):
    """One record with its bytes as text, those it came with and those put in their place."""

    partition: int
    offset: int | None
    headers: dict[str, str]
    payload: str | None
    edited_payload: str | None
    waits_behind: str | None
    actions: list[OperatorAction]


class ParkedPage(Answer):
    """Oldest first; `next` is given as `after` for the following page."""

    data: list[ParkedRecord]
    next: str | None


class ParkedGroup(Answer):
    """How many records of a topic are in this state for the same failure."""

    side: Side
    topic: str
    state: str
    failure: str
    count: int
    oldest_at: Instant


class ParkedGroups(Answer):
    data: list[ParkedGroup]


class NameParked(Ask):
    """`POST .../dry-run`: nothing is changed."""

    records: Annotated[list[RecordName], Field(min_length=1, max_length=MOST_NAMED)]


class MoveParked(NameParked):
    """`POST .../retry` and `POST .../skip`: all of these records, or none."""

    reason: Why


class ReplayParked(Ask):
    """`POST .../replay`: the open records that fit all that is given, at most 10,000."""

    side: Side = "in"
    topic: Text | None = None
    failure: Text | None = None
    key: Text | None = None
    since: Instant | None = None
    until: Instant | None = None
    """By the first failure."""
    per_second: Annotated[int, Field(ge=1, le=100)] = 20
    reason: Why


class EditParked(Ask):
    """`PUT .../{record}/payload`: another body; id, key and type stay what they are."""

    payload: dict[str, Any]
    reason: Why


class Moved(Answer):
    """The records as they are now."""

    data: list[ParkedRecord]


class ReplayProgress(Answer):
    """A replay: what it took, and what has become of it."""

    id: UUID
    at: Instant
    actor: UUID
    reason: str
    asked: int
    waiting: int
    done: int
    dead: int
    skipped: int
    others: int
    """Taken over by a later replay, or no longer kept."""


class ToldFact(Answer):
    """An event that would be told."""

    topic: str
    key: str
    sequence: int
    payload: dict[str, Any]


class Rehearsed(Answer):
    """What a retry of one record would come to, now."""

    record: str
    outcome: str
    error: str = ""
    told: list[ToldFact] = Field(default_factory=list)


class Rehearsal(Answer):
    data: list[Rehearsed]
