"""A batch takes effect once; what fails is cut out by key and parked in the same transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY

from contracts.payments import PaymentReturned
from services.chassis import batch
from services.chassis.batch import Hearing, hear
from services.chassis.consumer import Handler, Subscription
from services.chassis.db import Tx
from services.chassis.decisions import Never, NotYet, Verdicts
from services.chassis.records import Malformed, Record
from tests.support.effects import NUMBER, Effects, event
from tests.support.records import heard
from tests.support.waiting import until

GONE = "select not exists (select from pg_stat_activity where pid = $1)"

FAIL_FIRST_COMMIT = """
    create sequence commits;
    grant usage on commits to kb_notifications;
    create function fail_first_commit() returns trigger language plpgsql as $$ begin
        if nextval('commits') = 1 then raise serialization_failure; end if;
        return null;
    end $$;
    create constraint trigger fail_first_commit after insert on inbox_parked
    initially deferred for each row execute function fail_first_commit();
"""


async def test_a_batch_is_one_call_in_order(effects: Effects) -> None:
    key = uuid4()
    await effects.hear((key, 1), (key, 2), (key, 3))
    assert await effects.written(key) == [1, 2, 3]
    assert effects.calls == 1


async def test_a_second_delivery_changes_nothing(effects: Effects) -> None:
    key = uuid4()
    one, two = heard(event(key, 1)), heard(event(key, 2))
    hearing = Hearing(effects.db, NUMBER, Subscription(PaymentReturned, effects.handle))
    await hear(hearing, [one, one], [])
    await hear(hearing, [one, two], [])
    assert await effects.written(key) == [1, 2]


async def test_another_topic_of_the_service_has_its_own_inbox(effects: Effects) -> None:
    key, one = uuid4(), heard(event(uuid4(), 1))
    for number in (NUMBER, NUMBER + 1):
        await hear(Hearing(effects.db, number, Subscription(PaymentReturned, effects.handle)), [one], [])
    assert await effects.written(key) == []
    assert await effects.written(UUID(one.key)) == [1, 1]


@pytest.mark.parametrize("culprit", range(8))
async def test_only_the_failing_key_waits(effects: Effects, culprit: int) -> None:
    keys = [uuid4() for _ in range(8)]
    effects.broken = {(keys[culprit], 2)}
    await effects.hear(*[(key, nr) for nr in (1, 2, 3) for key in keys])
    for key in keys:
        assert await effects.written(key) == ([1] if key == keys[culprit] else [1, 2, 3])
    held = str(keys[culprit])
    assert await effects.parked() == [(held, "parked", "LookupError"), (held, "parked", "BEHIND")]


async def test_later_records_of_a_parked_key_wait_behind_it(effects: Effects) -> None:
    sick, well = uuid4(), uuid4()
    effects.broken = {(sick, 1)}
    await effects.hear((sick, 1), (well, 1))
    effects.broken = set()
    await hear(
        Hearing(effects.db, NUMBER, Subscription(PaymentReturned, effects.handle)),
        [heard(event(sick, 2), offset=10), heard(event(well, 2), offset=11)],
        [],
    )
    assert await effects.written(sick) == []
    assert await effects.written(well) == [1, 2]
    assert [state for _, state, _ in await effects.parked()] == ["parked", "parked"]


async def test_another_event_that_fails_at_the_same_place_is_parked_too(effects: Effects) -> None:
    before, after = uuid4(), uuid4()
    effects.broken = {(before, 1), (after, 1)}
    await effects.hear((before, 1))
    await effects.hear((after, 1))  # the topic was lost and made anew: it counts from 0 again
    assert [key for key, _, _ in await effects.parked()] == [str(before), str(after)]


async def test_never_is_parked_dead_and_stops_nobody(effects: Effects) -> None:
    key = uuid4()
    effects.decisions[key, 1] = Never("a charge of another planet")
    await effects.hear((key, 1), (key, 2))
    assert await effects.written(key) == [1, 2]
    assert await effects.parked() == [(str(key), "dead", "NEVER")]


async def test_not_yet_undoes_its_key_and_lets_the_others_through(effects: Effects) -> None:
    early, well = uuid4(), uuid4()
    effects.decisions[early, 1] = NotYet("no address yet")
    await effects.hear((early, 1), (well, 1), (early, 2))
    assert await effects.written(early) == []
    assert await effects.written(well) == [1]
    assert await effects.parked() == [(str(early), "parked", "NOT_YET")] * 2


async def test_an_unreadable_record_is_kept_once_with_its_bytes(effects: Effects) -> None:
    record = Record("payment.returned", 3, 99, "k\x00", b"\xff\x00", {"h": "v\x00"})
    for _ in range(2):
        await effects.hear(malformed=[Malformed(record, "INVALID_BODY", "(body): json_invalid")])
    row = await effects.admin.fetchrow("select * from inbox_parked")
    assert row is not None
    assert (row["state"], row["payload"], row["kafka_offset"]) == ("dead", b"\xff\x00", 99)
    assert len(await effects.parked()) == 1


async def test_a_record_whose_connection_is_cut_is_handled_and_not_parked(effects: Effects) -> None:
    key = uuid4()
    cuts: list[int] = []

    async def handle(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        if not cuts:
            cuts.append(await tx.fetchval("select pg_backend_pid()"))
            await effects.admin.fetchval("select pg_terminate_backend($1)", cuts[0])
            await until(lambda: effects.admin.fetchval(GONE, cuts[0]))
        return await effects.handle(tx, events)

    await hear(Hearing(effects.db, NUMBER, Subscription(PaymentReturned, handle)), [heard(event(key, 1))], [])
    assert await effects.parked() == []
    assert await effects.written(key) == [1]


@pytest.mark.parametrize("missing", ["dismissed_by", "dismissed_reason", "dismissed_at"])
async def test_nobody_dismisses_a_parked_record_without_name_reason_and_time(
    effects: Effects, missing: str
) -> None:
    record = Record("payment.returned", 3, 99, "k", b"\xff", {})
    await effects.hear(malformed=[Malformed(record, "INVALID_BODY", "(body): json_invalid")])
    said = {"dismissed_by": "'asha'", "dismissed_reason": "'sent by a test'", "dismissed_at": "now()"}
    dismiss = "update inbox_parked set state = 'skipped', " + ", ".join(f"{k} = {v}" for k, v in said.items())
    with pytest.raises(asyncpg.CheckViolationError):
        await effects.admin.execute(dismiss.replace(f"{missing} = {said[missing]}", f"{missing} = null"))
    with pytest.raises(asyncpg.CheckViolationError):
        await effects.admin.execute(dismiss.replace("'skipped'", "'dead'"))
    await effects.admin.execute(dismiss)
    assert [state for _, state, _ in await effects.parked()] == ["skipped"]


def _counted(outcome: str) -> float:
    labels = {"topic": "payment.returned", "outcome": outcome}
    return REGISTRY.get_sample_value("kb_consumer_records_total", labels) or 0


def _parked(reason: str) -> float:
    labels = {"topic": "payment.returned", "state": "dead", "reason": reason}
    return REGISTRY.get_sample_value("kb_records_parked_total", labels) or 0


async def test_only_what_is_committed_is_counted(effects: Effects) -> None:
    key = uuid4()
    effects.decisions[key, 2] = Never("a charge of another planet")
    await effects.admin.execute(FAIL_FIRST_COMMIT)
    before = _counted("unchanged"), _counted("never"), _parked("NEVER")
    await effects.hear((key, 1), (key, 2))
    assert await effects.admin.fetchval("select last_value from commits") == 2, "the first commit failed"
    assert (_counted("unchanged"), _counted("never"), _parked("NEVER")) == tuple(one + 1 for one in before)


async def test_an_unreadable_record_that_is_read_again_is_counted_once(effects: Effects) -> None:
    record = Record("payment.returned", 3, 99, "k", b"\xff", {})
    before = _parked("INVALID_BODY"), _counted("malformed")
    for _ in range(2):
        await effects.hear(malformed=[Malformed(record, "INVALID_BODY", "(body): json_invalid")])
    assert (_parked("INVALID_BODY"), _counted("malformed")) == tuple(one + 1 for one in before)


async def test_each_record_that_fails_is_an_outcome_and_those_that_wait_behind_it_are_none(
    effects: Effects,
) -> None:
    sick, early = uuid4(), uuid4()
    effects.broken = {(sick, 1)}
    effects.decisions[early, 1] = NotYet("no address yet")
    before = {outcome: _counted(outcome) for outcome in batch.OUTCOMES}
    await effects.hear((sick, 1), (sick, 2), (sick, 3), (early, 1))
    assert {outcome: _counted(outcome) - before[outcome] for outcome in batch.OUTCOMES} == dict.fromkeys(
        batch.OUTCOMES, 0
    ) | {"failed": 2}


@dataclass
class Slow:
    """A handler whose statement is cancelled for its time while it meets one of these keys."""

    effects: Effects
    keys: set[UUID]
    sizes: list[int] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)
    """After how many calls the batch was known to be alive."""

    async def handle(self, tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        self.sizes.append(len(events))
        if self.keys & {one.subject_id for one in events}:
            await tx.execute("set local statement_timeout = '5ms'")
            await tx.fetch("select pg_sleep(10)")
        return await self.effects.handle(tx, events)

    async def hear(self, keys: Sequence[UUID]) -> None:
        records = [heard(event(key, 1), offset=place) for place, key in enumerate(keys)]
        await hear(self.hearing(self.handle), records, [])

    def hearing(self, handle: Handler[PaymentReturned]) -> Hearing:
        subscription = Subscription(PaymentReturned, handle)
        return Hearing(self.effects.db, NUMBER, subscription, alive=self._note_life)

    def _note_life(self) -> None:
        self.signs.append(len(self.sizes))


async def test_a_key_whose_statement_always_takes_too_long_is_cut_out_and_parked(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PATIENCE_S", 0.0)
    keys = [uuid4() for _ in range(200)]
    slow = Slow(effects, {keys[77]})
    await slow.hear(keys)
    assert await effects.parked() == [(str(keys[77]), "parked", "QueryCanceledError")]
    assert await effects.admin.fetchval("select count(distinct key) from effects") == 199
    assert sum(size > 1 for size in slow.sizes) <= 1 + 8 + 8, "cut in eighths: each failure takes its time"
    assert {*slow.signs} == {*range(1, len(slow.sizes))}, "alive before each part of the cut"


async def test_a_statement_that_takes_too_long_is_tried_again_before_it_is_cut(effects: Effects) -> None:
    keys = [uuid4(), uuid4()]
    slow = Slow(effects, {keys[0]})

    async def handle(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        if len(slow.sizes) == 2:
            slow.keys.clear()
        return await slow.handle(tx, events)

    records = [heard(event(key, 1), offset=place) for place, key in enumerate(keys)]
    await hear(slow.hearing(handle), records, [])
    assert slow.sizes == [2, 2, 2]
    assert slow.signs == [1, 2], "alive after each try that failed, and not for one that took effect"
    assert await effects.parked() == []


async def test_when_everything_takes_too_long_the_batch_is_read_again_and_gets_on(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PATIENCE_S", 0.0)
    monkeypatch.setattr(batch, "CUTTING_S", 0.0)
    keys = [uuid4() for _ in range(20)]
    slow = Slow(effects, set(keys))
    with pytest.raises(asyncpg.QueryCanceledError):
        await slow.hear(keys)
    assert slow.sizes == [20], "not cut for ever"
    slow.keys.clear()
    await slow.hear(keys)
    assert await effects.admin.fetchval("select count(distinct key) from effects") == 20


async def test_two_owners_of_the_same_records_apply_each_once(effects: Effects) -> None:
    keys = [uuid4() for _ in range(40)]
    records = [heard(event(key, nr), offset=nr) for nr in range(5) for key in keys]
    hearing = Hearing(effects.db, NUMBER, Subscription(PaymentReturned, effects.handle))
    await asyncio.gather(*(hear(hearing, records[start:], []) for start in (0, 40, 80, 0)))
    for key in keys:
        assert sorted(await effects.written(key)) == [0, 1, 2, 3, 4]
