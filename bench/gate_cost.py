"""What one event costs when a batch of them shares its statements, beside one transaction for each."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from bench import machine
from contracts.payments import PaymentReturned
from contracts.topics import consumer_number
from services.chassis import inbox
from services.chassis.batch import Hearing, hear
from services.chassis.consumer import Subscription
from services.chassis.db import Database, Tx
from services.chassis.decisions import Unchanged, Verdicts
from services.chassis.ids import new_id
from services.chassis.records import Heard
from tests.support.records import heard

KEYS: Final = 1_000
BATCH: Final = 500
ROUNDS: Final = 3
MAKE: Final = (
    "create table counted (key uuid primary key, n bigint not null default 0) with (fillfactor = 50)"
)
GRANT: Final = "grant select, insert, update on counted to kb_{service}"
FILL: Final = "insert into counted (key) select unnest($1::uuid[])"
COUNT: Final = """
    update counted set n = n + more
    from (select key, count(*) as more from unnest($1::uuid[]) as key group by key order by key) as said
    where counted.key = said.key
"""
COUNTED: Final = "select sum(n) from counted"

Way = Callable[[Hearing, Sequence[Heard]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds an event: of the database's server, and of it and the consumer together."""

    server_us: float
    whole_us: float


@dataclass(frozen=True, slots=True)
class Costs:
    """The middle of some rounds of each; `wrong` is how many events had no effect, or more than one."""

    together: Cost
    alone: Cost
    savepoints: Cost
    wrong: int


async def torture_cost(dsn: str, admin_dsn: str, service: str, *, postgres_pid: int, events: int) -> Costs:
    """Each way hears its own events, so many in batches and a tenth of that otherwise; they take turns."""
    keys = [new_id() for _ in range(KEYS)]
    admin, db = await asyncpg.connect(admin_dsn), Database(dsn, name="cost", size=2)
    try:
        await admin.execute(MAKE)
        await admin.execute(GRANT.format(service=service))
        await admin.execute(FILL, keys)
        hearing = Hearing(
            db, consumer_number(service, PaymentReturned.TOPIC), Subscription(PaymentReturned, _count)
        )
        found: dict[Way, list[Cost]] = {_together: [], _alone: [], _savepoints: []}
        said = 0
        for _ in range(ROUNDS):
            for way, costs in found.items():
                some = _events(keys, events if way is _together else events // 10)
                said += len(some)
                costs.append(await _cost(way, hearing, some, postgres_pid))
        counted = int(await admin.fetchval(COUNTED))
    finally:
        await db.close()
        await admin.close()
    together, alone, savepoints = (
        sorted(costs, key=lambda one: one.server_us)[ROUNDS // 2] for costs in found.values()
    )
    return Costs(together, alone, savepoints, wrong=abs(said - counted))


async def _cost(way: Way, hearing: Hearing, events: Sequence[Heard], postgres_pid: int) -> Cost:
    server, own = machine.cpu_seconds(postgres_pid), machine.own_cpu_seconds()
    await way(hearing, events)
    server, own = machine.cpu_seconds(postgres_pid) - server, machine.own_cpu_seconds() - own
    return Cost(server / len(events) * 1e6, (server + own) / len(events) * 1e6)


async def _together(hearing: Hearing, events: Sequence[Heard]) -> None:
    """As it is: a batch is one transaction with the same few statements, however many events there are."""
    for first in range(0, len(events), BATCH):
        await hear(hearing, events[first : first + BATCH], [])


async def _alone(hearing: Hearing, events: Sequence[Heard]) -> None:
    """What was replaced: a transaction for each event."""
    for one in events:
        await hear(hearing, [one], [])


async def _savepoints(hearing: Hearing, events: Sequence[Heard]) -> None:
    """The negative control: a batch shares the commit, and each event has statements and a savepoint."""
    for first in range(0, len(events), BATCH):
        async with hearing.db.transaction() as tx:
            for one in events[first : first + BATCH]:
                async with tx.connection.transaction():
                    claimed = await inbox.claim(tx, hearing.number, [one])
                    await tx.fetch(inbox.BLOCKED, hearing.number, [one.key])
                    assert claimed.fresh
                    await hearing.subscription.handler(tx, [one.event])


async def _count(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
    await tx.execute(COUNT, [one.subject_id for one in events])
    return Verdicts(tuple(Unchanged() for _ in events))


def _events(keys: Sequence[Any], count: int) -> list[Heard]:
    return [
        heard(
            PaymentReturned(
                subject_id=keys[place % KEYS], intent_id=new_id(), attempt_id=new_id(), provider="esewa"
            ),
            offset=place,
        )
        for place in range(count)
    ]
