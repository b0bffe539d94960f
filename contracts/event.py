"""What every event has in common: an immutable body, and the envelope it travelled in."""

from functools import cache
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

NIL = UUID(int=0)


Method: TypeAlias = Literal["esewa", "khalti", "cod"]
Provider: TypeAlias = Literal["esewa", "khalti"]
Paisa = Annotated[int, Field(ge=0, le=10**15)]
"""Money is an integer number of paisa (NPR 1 = 100 paisa)."""
Quantity = Annotated[int, Field(ge=1, le=10**6)]
Sku = Annotated[str, Field(min_length=1, max_length=200)]
Time: TypeAlias = AwareDatetime
"""An instant. Tellers take it from their database in UTC, which is written with `Z`."""


class Body(BaseModel):
    """A JSON object inside an event: immutable, strict about types, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Envelope(NamedTuple):
    """The CloudEvents attributes of one received record.

    `sequence` counts the events of one key of one service over all its topics, so gaps within a topic
    are normal; it orders hints and snapshots (`ce_sequence`).
    """

    id: UUID = NIL
    sequence: int = 0
    correlation_id: UUID = NIL
    traceparent: str = ""


NOWHERE = Envelope()


TYPES = "np.kbstylish."
"""What the CloudEvents types of all our events begin with."""


@cache
def type_of(topic: str, version: int) -> str:
    """The CloudEvents type of a topic's events, `np.kbstylish.<topic>.v<version>`."""
    return f"{TYPES}{topic}.v{version}"


class Event(Body):
    """A fact that one service tells on one topic; subclasses are named like their topic."""

    TOPIC: ClassVar[str]
    KEYED_BY: ClassVar[str] = "order_id"
    SUBJECT_KIND: ClassVar[str] = "order"
    VERSION: ClassVar[int] = 1

    @classmethod
    @cache
    def type_name(cls) -> str:
        """The CloudEvents type, `np.kbstylish.<topic>.v<version>`."""
        return type_of(cls.TOPIC, cls.VERSION)

    @property
    def envelope(self) -> Envelope:
        """Where this event came from; empty for an event that is about to be told."""
        found: Envelope = self.__dict__.get("_envelope", NOWHERE)
        return found

    @property
    def key(self) -> UUID:
        """The aggregate this event is about: its Kafka key."""
        value: UUID = getattr(self, self.KEYED_BY)
        return value

    def within(self, envelope: Envelope) -> "Event":
        """The same event, remembering the envelope it arrived in."""
        # Beside the fields, where pydantic keeps cached properties: a private attribute costs 6 us a look.
        self.__dict__["_envelope"] = envelope
        return self
