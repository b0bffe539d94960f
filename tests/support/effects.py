"""A handler that writes what it hears into a table, so that tests see what took effect, in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from contracts.payments import PaymentReturned
from contracts.topics import consumer_number
from services.chassis.batch import Hearing, hear
from services.chassis.consumer import Subscription
from services.chassis.db import Database, Tx
from services.chassis.decisions import Decision, Unchanged, Verdicts
from services.chassis.records import Malformed
from tests.support.records import heard

NUMBER: Final = consumer_number("notifications", "payment.returned")
EFFECTS: Final = "create table effects (key uuid, nr int, at bigint generated always as identity)"
INSERT: Final = "insert into effects (key, nr) select * from unnest($1::uuid[], $2::int[])"


def event(key: UUID, nr: int) -> PaymentReturned:
    """An event of this key that carries its number in an id."""
    return PaymentReturned(subject_id=key, intent_id=UUID(int=nr), attempt_id=uuid4(), provider="esewa")


@dataclass
class Effects:
    """A handler that writes what it hears, and fails or decides as it is told to."""

    db: Database
    admin: asyncpg.Connection
    broken: set[tuple[UUID, int]] = field(default_factory=set)
    decisions: dict[tuple[UUID, int], Decision[Any]] = field(default_factory=dict)
    calls: int = 0

    async def handle(self, tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        self.calls += 1
        names = [(one.subject_id, one.intent_id.int) for one in events]
        await tx.execute(INSERT, [key for key, _ in names], [nr for _, nr in names])
        if culprits := [name for name in names if name in self.broken]:
            raise LookupError(f"cannot handle {culprits}")
        return Verdicts(tuple(self.decisions.get(name, Unchanged()) for name in names))

    async def hear(self, *stories: tuple[UUID, int], malformed: Sequence[Malformed] = ()) -> None:
        records = [heard(event(key, nr), offset=place) for place, (key, nr) in enumerate(stories)]
        await hear(Hearing(self.db, NUMBER, Subscription(PaymentReturned, self.handle)), records, malformed)

    async def written(self, key: UUID) -> list[int]:
        rows = await self.admin.fetch("select nr from effects where key = $1 order by at", key)
        return [row["nr"] for row in rows]

    async def parked(self) -> list[tuple[str, str, str]]:
        rows = await self.admin.fetch("select key, state, reason from inbox_parked order by id")
        return [(row["key"], row["state"], row["reason"]) for row in rows]
