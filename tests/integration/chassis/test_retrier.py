"""A parked key is retried in order and released; whatever a batch does meanwhile, nothing is out of order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.payments import PaymentReturned
from services.chassis import retrier
from services.chassis.backoff import pause_s
from services.chassis.batch import Hearing, hear
from services.chassis.consumer import Consumer, Subscription
from services.chassis.db import Tx
from services.chassis.decisions import Never, NotYet, Refused, Verdicts
from services.chassis.records import Malformed, Record
from services.chassis.retrier import keep_retrying, retry_one
from tests.support.effects import NUMBER, Effects, event
from tests.support.records import headers_of, heard
from tests.support.waiting import until

DUE = "update inbox_block set next_at = now()"
WAITS = """
    select exists (select from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock' and query like $1)
"""
STATES = "select state, outcome, reason, attempts from inbox_parked order by id"
STRANDED = """
    select key from inbox_parked where state = 'parked'
    and (consumer, key) not in (select consumer, key from inbox_block)
"""


def subscriptions(effects: Effects) -> dict[int, Subscription[Any]]:
    return {NUMBER: Subscription(PaymentReturned, effects.handle)}


async def retry_all(effects: Effects) -> int:
    """Everything that is parked is due; how many tries there were until nothing was."""
    tries = 0
    await effects.admin.execute(DUE)
    while await retry_one(effects.db, subscriptions(effects)):
        tries += 1
        assert tries < 100
    return tries


async def poisoned(effects: Effects, *numbers: int) -> UUID:
    """A key whose first record has failed, the others waiting behind it; what broke it is mended."""
    key = uuid4()
    effects.broken = {(key, numbers[0])}
    await effects.hear(*[(key, nr) for nr in numbers])
    effects.broken = set()
    return key


async def blocks(effects: Effects) -> list[str]:
    return [row["key"] for row in await effects.admin.fetch("select key from inbox_block")]


async def states(effects: Effects) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await effects.admin.fetch(STATES)]


async def test_what_waits_is_retried_in_order_and_the_key_is_free_again(effects: Effects) -> None:
    key = await poisoned(effects, 1, 2, 3)
    assert await retry_all(effects) == 3
    assert await effects.written(key) == [1, 2, 3]
    assert await blocks(effects) == []
    assert [(state, outcome) for state, outcome, *_ in await states(effects)] == [
        ("replayed", "unchanged")
    ] * 3
    await effects.hear((key, 4))
    assert await effects.written(key) == [1, 2, 3, 4]


async def test_only_its_own_key_waits_for_a_poisoned_record(effects: Effects) -> None:
    sick, well = uuid4(), uuid4()
    effects.broken = {(sick, 1)}
    await effects.hear((sick, 1), (well, 1), (sick, 2))
    await retry_all(effects)
    await effects.hear((well, 2))
    assert (await effects.written(sick), await effects.written(well)) == ([], [1, 2])
    assert [(state, reason) for state, _, reason, _ in await states(effects)] == [
        ("parked", "LookupError"),
        ("parked", "BEHIND"),
    ]


async def test_a_record_that_fails_again_is_put_off_longer_each_time(effects: Effects) -> None:
    key = uuid4()
    effects.broken = {(key, 1)}
    await effects.hear((key, 1))
    waits = "select attempts, extract(epoch from next_at - now()) as s from inbox_block"
    before = await effects.admin.fetchrow(waits)
    assert before is not None
    assert before["s"] <= 1
    assert not await retry_one(effects.db, subscriptions(effects)), "not due yet"
    for attempt in (1, 2, 3, 4):
        assert await retry_all(effects) == 1
        row = await effects.admin.fetchrow(waits)
        assert row is not None
        assert row["attempts"] == attempt
        assert 2**attempt / 2 - 1 < row["s"] <= 2**attempt
    [(state, _, reason, attempts)] = await states(effects)
    assert (state, reason, attempts) == ("parked", "LookupError", 4)


def test_the_pause_grows_from_seconds_to_ten_minutes_and_is_spread() -> None:
    assert all(1 <= pause_s(1) <= 2 for _ in range(100))
    assert all(300 <= pause_s(attempts) <= 600 for attempts in (10, 20, 10_000))
    assert len({pause_s(3) for _ in range(10)}) > 1


async def test_not_yet_waits_and_undoes_what_the_handler_wrote(effects: Effects) -> None:
    key = uuid4()
    effects.decisions[key, 1] = NotYet("no address yet")
    await effects.hear((key, 1), (key, 2))
    await retry_all(effects)
    assert await effects.written(key) == []
    effects.decisions.clear()
    await retry_all(effects)
    assert await effects.written(key) == [1, 2]


async def test_a_record_that_turns_out_impossible_is_dead_and_its_key_goes_on(effects: Effects) -> None:
    key = await poisoned(effects, 1, 2)
    effects.decisions[key, 1] = Never("a charge of another planet")
    await retry_all(effects)
    assert [(state, reason) for state, _, reason, _ in await states(effects)] == [
        ("dead", "NEVER"),
        ("replayed", "BEHIND"),
    ]
    assert await blocks(effects) == []


async def test_a_refusal_is_an_end_like_any_other(effects: Effects) -> None:
    key = await poisoned(effects, 1)
    effects.decisions[key, 1] = Refused("INVALID_TRANSITION")
    await retry_all(effects)
    [(state, outcome, *_)] = await states(effects)
    assert (state, outcome) == ("replayed", "refused INVALID_TRANSITION")


async def test_an_unreadable_record_that_is_read_now_is_still_heard_once(effects: Effects) -> None:
    key, told = uuid4(), heard(event(uuid4(), 1))
    headers = headers_of(told.event, 1, told.event_id)
    for offset in (1, 2):  # the same event twice, unreadable at first
        record = Record("payment.returned", 0, offset, told.key, told.record.value, headers)
        await effects.hear(malformed=[Malformed(record, "INVALID_BODY", "by an older release")])
    await effects.admin.execute("update inbox_parked set state = 'parked'")
    await effects.admin.execute("insert into inbox_block (consumer, key) values ($1, $2)", NUMBER, told.key)
    await retry_all(effects)
    assert [(state, outcome) for state, outcome, *_ in await states(effects)] == [
        ("replayed", "unchanged"),
        ("replayed", "duplicate"),
    ]
    assert await effects.written(UUID(told.key)) == [1]
    assert await effects.written(key) == []


async def test_the_retrier_of_a_process_drains_by_itself(effects: Effects) -> None:
    key = await poisoned(effects, 1, 2, 3)
    consumer, stopping = Consumer("notifications"), asyncio.Event()
    consumer.on(PaymentReturned)(effects.handle)
    task = asyncio.create_task(keep_retrying(effects.db, consumer, stopping))
    try:

        async def drained() -> bool:
            return await effects.written(key) == [1, 2, 3] and not await blocks(effects)

        await until(drained)
    finally:
        stopping.set()
        await task


# A batch and the retrier at the same time: every order in which their steps can fall.


@asynccontextmanager
async def waiting_for_a_lock(effects: Effects, statement: str) -> AsyncIterator[None]:
    """What runs inside begins once a statement like this waits for somebody."""
    async with asyncio.timeout(10):
        while not await effects.admin.fetchval(WAITS, statement):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
    yield


@dataclass
class Held:
    """A handler that stands still in its transaction until it may finish, well or with an error."""

    effects: Effects
    error: Exception | None = None
    at_work: asyncio.Event = field(default_factory=asyncio.Event)
    finish: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        self.at_work.set()
        await self.finish.wait()
        if self.error is not None:
            raise self.error
        return await self.effects.handle(tx, events)

    async def retries(self) -> "asyncio.Task[bool]":
        """The retrier, at work on what is parked."""
        await self.effects.admin.execute(DUE)
        subscribed = {NUMBER: Subscription(PaymentReturned, self.handle)}
        retrying = asyncio.create_task(retry_one(self.effects.db, subscribed))
        await self.at_work.wait()
        return retrying


def hearing(effects: Effects, handler: Any = None) -> Hearing:  # noqa: ANN401
    return Hearing(effects.db, NUMBER, Subscription(PaymentReturned, handler or effects.handle))


async def test_a_batch_before_the_retrier_parks_behind_and_is_drained(effects: Effects) -> None:
    key = await poisoned(effects, 1)
    await effects.hear((key, 2))
    await retry_all(effects)
    assert await effects.written(key) == [1, 2]


async def test_a_batch_that_comes_while_the_retrier_works_waits_and_goes_after_it(effects: Effects) -> None:
    """The retrier holds the key when the batch asks: the batch must see it released, its effects included."""
    key = await poisoned(effects, 1)
    held = Held(effects)
    retrying = await held.retries()
    arriving = asyncio.create_task(hear(hearing(effects), [heard(event(key, 2), offset=9)], []))
    async with waiting_for_a_lock(effects, "%for share%"):
        assert not arriving.done()
        held.finish.set()
    await asyncio.gather(retrying, arriving)
    assert await effects.written(key) == [1, 2]
    assert (await blocks(effects), len(await states(effects))) == ([], 1)


async def test_a_batch_that_waits_for_a_retrier_that_fails_parks_behind_it(effects: Effects) -> None:
    key = await poisoned(effects, 1)
    held = Held(effects, error=LookupError("still broken"))
    retrying = await held.retries()
    arriving = asyncio.create_task(hear(hearing(effects), [heard(event(key, 2), offset=9)], []))
    async with waiting_for_a_lock(effects, "%for share%"):
        held.finish.set()
    await asyncio.gather(retrying, arriving)
    assert await effects.written(key) == []
    await retry_all(effects)
    assert await effects.written(key) == [1, 2]


async def test_a_key_whose_batch_is_under_way_is_left_to_it(effects: Effects) -> None:
    """The batch has seen the block and not committed yet: the retrier must not release the key under it."""
    key, well = await poisoned(effects, 1), uuid4()
    await effects.admin.execute(DUE)
    held = Held(effects)
    records = [heard(event(key, 2), offset=8), heard(event(well, 1), offset=9)]
    arriving = asyncio.create_task(hear(hearing(effects, held.handle), records, []))
    await held.at_work.wait()
    assert not await retry_one(effects.db, subscriptions(effects))
    held.finish.set()
    await arriving
    await retry_all(effects)
    assert (await effects.written(key), await effects.written(well)) == ([1, 2], [1])


async def test_what_is_parked_between_the_lock_and_the_look_is_seen(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch commits after the retrier's lock statement took its snapshot, before it got the lock."""
    key = await poisoned(effects, 1)
    await effects.admin.execute(DUE)
    # The lock statement, with its snapshot taken, waits for us at an advisory lock.
    gate = "where consumer = any($1::smallint[]) and (select pg_advisory_xact_lock(7) is not null) and"
    slow = retrier.LOCK_DUE.replace("where consumer = any($1::smallint[]) and", gate)
    assert slow != retrier.LOCK_DUE
    monkeypatch.setattr(retrier, "LOCK_DUE", slow)
    holder = await asyncpg.connect(effects.db.dsn)
    await holder.execute("select pg_advisory_lock(7)")
    retrying = asyncio.create_task(retry_one(effects.db, subscriptions(effects)))
    async with waiting_for_a_lock(effects, "%pg_advisory_xact_lock(7)%"):
        await effects.hear((key, 2))
    await holder.close()
    await retrying
    assert await effects.written(key) == [1]
    assert await effects.admin.fetch(STRANDED) == []
    monkeypatch.undo()
    await retry_all(effects)
    assert await effects.written(key) == [1, 2]


async def test_a_record_that_fails_while_its_key_is_being_released_is_not_stranded(effects: Effects) -> None:
    """Its batch saw no block (a dead record was put back by hand meanwhile): it must block the key anew."""
    key = await poisoned(effects, 1)
    held = Held(effects)
    retrying = await held.retries()
    parking = asyncio.create_task(_park_alone(effects, key))
    async with waiting_for_a_lock(effects, "%insert into inbox_block%"):
        held.finish.set()
    await asyncio.gather(retrying, parking)
    assert await blocks(effects) == [str(key)]
    assert await effects.admin.fetch(STRANDED) == []
    await retry_all(effects)
    assert await effects.written(key) == [1, 2]


async def _park_alone(effects: Effects, key: UUID) -> None:
    """The last step of a batch whose record failed alone, its block not seen when it began."""
    from services.chassis import inbox, parking  # noqa: PLC0415

    one = heard(event(key, 2), offset=9)
    async with effects.db.transaction() as tx:
        await inbox.claim(tx, NUMBER, [one])
        await parking.park(tx, NUMBER, [parking.waiting(one, "LookupError", "late")])


async def test_two_retriers_take_different_keys(effects: Effects) -> None:
    keys = [await poisoned(effects, 1, 2) for _ in range(4)]
    await effects.admin.execute(DUE)

    async def work() -> int:
        count = 0
        while await retry_one(effects.db, subscriptions(effects)):
            count += 1
        return count

    counts = await asyncio.gather(work(), work(), work())
    # One that finds every key taken stops early; what it left, the others or the next look do.
    assert sum(counts) + await retry_all(effects) == 8
    for key in keys:
        assert await effects.written(key) == [1, 2]
