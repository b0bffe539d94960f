"""Records as the audit keeps them: any bytes become a few fields; nothing here can raise."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from sys import intern
from typing import Any, Final
from uuid import UUID

import orjson

FACTS: Final[dict[str, tuple[str, ...]]] = {
    "payment.verified": ("payment_id", "amount_paisa"),
    "stock.reserved": ("hold_no",),
    "stock.rejected": ("hold_no",),
    "stock.released": ("hold_no",),
    "item.cancelled": ("item_id", "restock"),
}
"""The few fields of bodies that a promise asks for."""

Place = tuple[str, int]
"""Topic (without the installation's prefix) and partition."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a topic; what could not be read is None, `digest` is of its value's bytes."""

    topic: str
    part: int
    offset: int
    key: str | None
    id: UUID | None
    sequence: int | None
    type: str
    subject_kind: str
    correlation: UUID | None
    causation: UUID | None
    digest: bytes
    at_ms: int
    facts: tuple[Any, ...]

    @property
    def where(self) -> str:
        return f"{self.topic}[{self.part}]@{self.offset}"

    @property
    def content(self) -> tuple[object, ...]:
        """What it shares with every copy of it, and with the row that told it."""
        place = (self.topic, self.part, self.key, self.sequence)
        return (*place, self.type, self.correlation, self.causation, self.digest)


@dataclass(slots=True)
class Log:
    """All records of all topics: the first of each id in full, later ones counted and compared.

    `strangers` have no readable id; `differing` are pairs of a first record and a "copy" that is none.
    """

    first: dict[UUID, Record] = field(default_factory=dict)
    strangers: list[Record] = field(default_factory=list)
    differing: list[tuple[Record, Record]] = field(default_factory=list)
    records: int = 0
    copies: int = 0

    def keep(self, record: Record) -> None:
        self.records += 1
        if record.id is None:
            self.strangers.append(record)
            return
        known = self.first.setdefault(record.id, record)
        if known is not record:
            self.copies += 1
            if known.content != record.content:
                self.differing.append((known, record))

    def all_kept(self) -> list[Record]:
        return [*self.first.values(), *self.strangers]

    def of(self, *topics: str) -> list[Record]:
        return [record for record in self.first.values() if record.topic in topics]


def digest_of(value: bytes | None) -> bytes:
    return hashlib.sha256(value).digest()[:16] if value is not None else b""


def read(raw: Any, topic: str) -> Record:  # noqa: ANN401 - aiokafka's ConsumerRecord
    """The record of a Kafka client; `topic` without prefix."""
    said = {name: _text(value) for name, value in raw.headers}
    return Record(
        topic=topic,
        part=raw.partition,
        offset=raw.offset,
        key=None if raw.key is None else intern(_text(raw.key)),
        id=uuid_of(said.get("ce_id", "")),
        sequence=_number(said.get("ce_sequence", "")),
        type=intern(said.get("ce_type", "")),
        subject_kind=intern(said.get("ce_subjectkind", "")),
        correlation=flow_of(said.get("ce_correlationid", "")),
        causation=uuid_of(said.get("ce_causationid", "")),
        digest=digest_of(raw.value),
        at_ms=raw.timestamp,
        facts=_facts(raw.value, FACTS.get(topic, ())),
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def uuid_of(text: str) -> UUID | None:
    """The id in a header, if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return None


# One flow has some fifteen records, mostly near each other: they share one value.
flow_of = lru_cache(maxsize=10_000)(uuid_of)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None  # noqa: PLR2004 - its width


def _facts(value: bytes | None, wanted: Sequence[str]) -> tuple[Any, ...]:
    if not wanted:
        return ()
    try:
        body = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        body = None
    return tuple(body.get(name) if isinstance(body, dict) else None for name in wanted)
