"""What came out compared with what was committed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import asyncpg


class Fact(NamedTuple):
    """One told event."""

    key: str
    sequence: int
    event_id: UUID


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts over one torture; the first five are what must be zero, duplicates may come from a crash."""

    committed: int
    lost: int
    phantom: int
    reordered: int
    """First deliveries below one of the same key that came before."""
    gaps: int
    """First deliveries that do not follow the last of their key by one."""
    duplicates: int

    @property
    def flawless(self) -> bool:
        """Nothing lost, made up or out of order once copies are dropped."""
        return self.committed > 0 and not (self.lost or self.phantom or self.reordered or self.gaps)


COMMITTED = "select key, key_seq, event_id from outbox"


async def committed(dsn: str) -> dict[UUID, Fact]:
    """Every event that was told and committed."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(COMMITTED)
    finally:
        await connection.close()
    return {row["event_id"]: Fact(row["key"], row["key_seq"], row["event_id"]) for row in rows}


def judge(delivered: Iterable[Fact], truth: Mapping[UUID, Fact]) -> Verdict:
    """Judge deliveries in their order; copies of what was delivered before do not count against the order."""
    seen: set[UUID] = set()
    last: dict[str, int] = {}
    duplicates = reordered = gaps = 0
    for fact in delivered:
        if fact.event_id in seen:
            duplicates += 1
            continue
        seen.add(fact.event_id)
        before = last.get(fact.key, 0)
        reordered += fact.sequence <= before
        gaps += fact.sequence != before + 1
        last[fact.key] = max(before, fact.sequence)
    return Verdict(
        len(truth), len(truth.keys() - seen), len(seen - truth.keys()), reordered, gaps, duplicates
    )
