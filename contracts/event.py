"""What every event has in common: an immutable body, and the envelope it travelled in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PrivateAttr

NIL = UUID(int=0)


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        msg = "a time needs an offset"
        raise ValueError(msg)
    return value.astimezone(UTC)


def _zulu(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Method: TypeAlias = Literal["esewa", "khalti", "cod"]
Provider: TypeAlias = Literal["esewa", "khalti"]
Paisa = Annotated[int, Field(ge=0, le=10**15)]
"""Money is an integer number of paisa (NPR 1 = 100 paisa)."""
Quantity = Annotated[int, Field(ge=1, le=10**6)]
Sku = Annotated[str, Field(min_length=1, max_length=200)]
Time = Annotated[datetime, AfterValidator(_aware), PlainSerializer(_zulu, when_used="json")]
"""An instant; UTC with `Z` on the wire."""


class Body(BaseModel):
    """A JSON object inside an event: immutable, strict about types, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


@dataclass(frozen=True, slots=True)
class Envelope:
    """The CloudEvents attributes of one received record.

    `sequence` counts the events of one key of one service over all its topics, so gaps within a topic
    are normal; it orders hints and snapshots (`ce_sequence`).
    """

    id: UUID = NIL
    sequence: int = 0
    correlation_id: UUID = NIL
    traceparent: str = ""


class Event(Body):
    """A fact that one service tells on one topic; subclasses are named like their topic."""

    TOPIC: ClassVar[str]
    KEYED_BY: ClassVar[str] = "order_id"
    SUBJECT_KIND: ClassVar[str] = "order"
    VERSION: ClassVar[int] = 1

    _envelope: Envelope = PrivateAttr(default_factory=Envelope)

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, `np.kbstylish.<topic>.v<version>`."""
        return f"np.kbstylish.{cls.TOPIC}.v{cls.VERSION}"

    @property
    def envelope(self) -> Envelope:
        """Where this event came from; empty for an event that is about to be told."""
        return self._envelope

    @property
    def key(self) -> UUID:
        """The aggregate this event is about: its Kafka key."""
        value: UUID = getattr(self, self.KEYED_BY)
        return value

    def within(self, envelope: Envelope) -> "Event":
        """The same event, remembering the envelope it arrived in."""
        self._envelope = envelope
        return self
