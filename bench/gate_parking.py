"""Torture of the relay's parking: refused records stop their keys alone, and go on when somebody says so."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg

from contracts.topics import PARTITIONS
from services.chassis import parked_rows
from services.chassis.db import Database
from services.chassis.ids import new_id
from services.chassis.leases import Terms
from services.chassis.murmur2 import partition_of
from services.chassis.publisher import RefusedError, Row, UnavailableError
from services.chassis.relay import Pace, Relay
from tests.support.torture.judge import Fact
from tests.support.torture.stub_broker import StubBroker, StubSink
from tests.support.torture.writers import TELL
from tests.support.waiting import until

TOPIC: Final = "order.placed"
KEYS: Final = 240
EACH: Final = 10
BAD_FROM: Final = 4
"""The event of a poisoned key that the broker refuses."""
RETRIED, SKIPPED, HOPELESS = POISONED = ("key-0", "key-1", "key-2")
REASON: Final = "too large for anybody"
BRISK: Final = Pace(retry_look_s=0.1, longest_pause_s=0.2, terms=Terms(lease_s=5.0, renew_s=0.2, save_s=0.05))
STATES: Final = """
    select key, array_agg(state order by id) as states, max(reason) as reason from outbox_parked group by key
"""
FIRST: Final = "select min(id) from outbox_parked where key = $1"
REPUBLISH: Final = "update outbox_shard set snap = $1::pg_snapshot"
SEEN: Final = "select pg_current_snapshot()::text"
TRIES: Final = 5


class PickySink(StubSink):
    """Refuses some events; `parks` false, it says that the broker is away, so the relay tries for ever."""

    def __init__(self, broker: StubBroker, bad: set[UUID], *, parks: bool) -> None:
        super().__init__(broker)
        self.bad = bad
        self.parks = parks
        self.refused = 0

    async def publish(self, part: int, rows: Sequence[Row], within_s: float) -> None:
        if any(UUID(str(row["event_id"])) in self.bad for row in rows):
            self.refused += 1
            if self.parks:
                raise RefusedError(rows, "too large")
            raise UnavailableError("no answer")
        await super().publish(part, rows, within_s)


@dataclass(frozen=True, slots=True)
class ParkingTorture:
    """What came of it, in keys; everything but `visible` and the control must be none."""

    visible: int
    """Rows set aside where operators see them."""
    held_up: int
    """Keys without poison that did not arrive whole and in order."""
    overtaken: int
    """Poisoned keys of which something behind the poison arrived before anybody said so."""
    wrong_after: int
    """Poisoned keys that did not do what was said of them: go, go without the skipped one, stay."""
    without_reason: int
    """Skipped keys that do not say why."""
    control_held_up: int


@dataclass(slots=True)
class Ground:
    """The database of one torture, and what was told in it."""

    dsn: str
    db: Database
    told: dict[str, list[UUID]] = field(default_factory=dict)

    @property
    def bad(self) -> set[UUID]:
        return {self.told[key][BAD_FROM - 1] for key in POISONED}

    async def tell(self) -> None:
        """Every key tells its events; in turns, so that the poisoned ones stand among all others."""
        self.told = {f"key-{number}": [new_id() for _ in range(EACH)] for number in range(KEYS)}
        keys = list(self.told)
        parts = [partition_of(key.encode(), PARTITIONS) for key in keys]
        for place in range(EACH):
            ids = [self.told[key][place] for key in keys]
            async with self.db.transaction() as tx:
                await tx.execute(TELL, parts, keys, [place + 1] * KEYS, ids)

    async def states(self) -> dict[str, asyncpg.Record]:
        async with self.db.transaction() as tx:
            return {row["key"]: row for row in await tx.fetch(STATES)}


async def torture_parking(dsn: str, admin_dsn: str) -> ParkingTorture:
    """Without parking first; then poison, see who goes on, decide about the poisoned, judge."""
    ground = Ground(dsn, Database(dsn, name="parking", size=4))
    before = await _snapshot(admin_dsn)
    await ground.tell()
    try:
        control = await _without_parking(ground)
        await _publish_again_from(admin_dsn, before)
        broker = StubBroker()
        sink = PickySink(broker, ground.bad, parks=True)
        async with _running(ground, sink):
            await until(lambda: _all_parked(ground), what="everything behind the poison to be parked")
            await until(lambda: _healthy_arrived(ground, broker), what="the other keys to arrive")
            states = await ground.states()
            overtaken = sum(_arrived(broker.log, key) != ground.told[key][: BAD_FROM - 1] for key in POISONED)
            await _decide(ground, sink)
        after = await ground.states()
    finally:
        await ground.db.close()
    return ParkingTorture(
        visible=sum(len(row["states"]) for row in states.values()),
        held_up=_held_up(ground, broker.log),
        overtaken=overtaken,
        wrong_after=_wrong_after(ground, broker.log, after),
        without_reason=int(after[SKIPPED]["reason"] != REASON),
        control_held_up=control,
    )


async def _without_parking(ground: Ground) -> int:
    """The negative control: keys without poison that wait behind one that is tried for ever."""
    broker = StubBroker()
    sink = PickySink(broker, ground.bad, parks=False)
    stuck = {partition_of(key.encode(), PARTITIONS) for key in POISONED}
    free = [key for key in ground.told if partition_of(key.encode(), PARTITIONS) not in stuck]

    async def tried() -> bool:
        return sink.refused >= TRIES * len(stuck) and all(
            _arrived(broker.log, key) == ground.told[key] for key in free
        )

    async with _running(ground, sink):
        await until(tried, what="the other shards to arrive")
    return _held_up(ground, broker.log)


async def _decide(ground: Ground, sink: PickySink) -> None:
    """One key may go, one goes without the row that cannot, one is tried again in vain."""
    sink.bad = {ground.told[key][BAD_FROM - 1] for key in (SKIPPED, HOPELESS)}
    async with ground.db.transaction() as tx:
        first = await tx.fetchval(FIRST, SKIPPED)
        await parked_rows.skip(tx, [first], REASON, "gate")
        await parked_rows.retry(tx, [(TOPIC, key) for key in POISONED])

    async def decided() -> bool:
        states = await ground.states()
        return (
            _is(states[RETRIED], {"published"})
            and _is(states[HOPELESS], {"parked"})
            and _is(states[SKIPPED], {"skipped", "published"})
        )

    await until(decided, what="the decisions to be carried out")


def _is(row: asyncpg.Record, states: set[str]) -> bool:
    return set(row["states"]) == states


def _wrong_after(ground: Ground, log: Sequence[Fact], after: dict[str, asyncpg.Record]) -> int:
    told = ground.told
    expected = {
        RETRIED: told[RETRIED],
        SKIPPED: [*told[SKIPPED][: BAD_FROM - 1], *told[SKIPPED][BAD_FROM:]],
        HOPELESS: told[HOPELESS][: BAD_FROM - 1],
    }
    assert after.keys() == set(POISONED), "nobody else is parked"
    return sum(_arrived(log, key) != wanted for key, wanted in expected.items())


def _held_up(ground: Ground, log: Sequence[Fact]) -> int:
    return sum(_arrived(log, key) != ids for key, ids in ground.told.items() if key not in POISONED)


def _arrived(log: Sequence[Fact], key: str) -> list[UUID]:
    """The events of this key in the order of their first arrival."""
    return list(dict.fromkeys(fact.event_id for fact in log if fact.key == key))


async def _healthy_arrived(ground: Ground, broker: StubBroker) -> bool:
    return _held_up(ground, broker.log) == 0


async def _all_parked(ground: Ground) -> bool:
    states = await ground.states()
    return sum(len(row["states"]) for row in states.values()) == len(POISONED) * (EACH - BAD_FROM + 1)


@asynccontextmanager
async def _running(ground: Ground, sink: PickySink) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    relay = Relay(ground.dsn, service="torture", kafka="", pace=BRISK, sink=sink)
    task = asyncio.create_task(relay.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await task


async def _snapshot(admin_dsn: str) -> str:
    connection = await asyncpg.connect(admin_dsn)
    try:
        return str(await connection.fetchval(SEEN))
    finally:
        await connection.close()


async def _publish_again_from(admin_dsn: str, snapshot: str) -> None:
    """The control has sent part of it; the relay under torture is to begin where the control began."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute(REPUBLISH.replace("$1", f"'{snapshot}'"))
    finally:
        await connection.close()
