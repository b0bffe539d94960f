"""The relay on a real broker: what is told arrives as promised, whoever dies, whatever is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner

from contracts.event import Envelope
from contracts.payments import PaymentHeld
from contracts.topics import BY_NAME, PARTITIONS
from infra import broker, processes
from infra import topics as provisioning
from services.chassis import parked_rows
from services.chassis.db import Database
from services.chassis.ids import new_id
from services.chassis.leases import Terms
from services.chassis.murmur2 import partition_of
from services.chassis.outbox_metrics import ORDER_VIOLATION, PRODUCER_REBUILD
from services.chassis.publisher import KafkaSink, RefusedError, Row
from services.chassis.relay import ForeignCursorError, Pace, Relay
from services.chassis.window import COLUMNS
from tests import conftest
from tests.integration.chassis.telling import BRISK, NAMES, World, declined, returned, running
from tests.support.waiting import until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
async def world(
    database: Callable[[str], Awaitable[conftest.Database]],
    kafka: str,
    topics: Callable[..., Awaitable[str]],
) -> AsyncIterator[World]:
    own = await database("payments")
    db = Database(own.dsn, name="teller", size=4)
    yield World(db, own.dsn, own.admin_dsn, kafka, await topics(*NAMES))
    await db.close()


def crash(relay: Relay, task: "asyncio.Task[None]") -> None:
    """End it so that nothing is saved or handed back."""
    relay.leases.held.clear()
    task.cancel()


async def test_a_told_event_arrives_as_the_conventions_say(world: World) -> None:
    key, cause = uuid4(), Envelope(id=new_id(), correlation_id=uuid4(), traceparent=TRACE)
    event = declined(key)
    await world.tell([event], first=7, cause=cause)
    async with running(world.relay()):
        await until(world.published)
    [record] = await world.records()
    [row] = await world.rows("select event_id, created_at from outbox")
    assert record.topic == world.prefix + "payment.declined"
    assert record.key == str(key).encode()
    assert record.partition == DefaultPartitioner()(record.key, list(range(PARTITIONS)), [])
    assert record.value == event.model_dump_json(exclude_none=True).encode()
    assert record.timestamp == int(row["created_at"].timestamp() * 1000)
    assert dict(record.headers) == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": str(row["event_id"]).encode(),
        "ce_source": b"/services/payments",
        "ce_type": b"np.kbstylish.payment.declined.v1",
        "ce_subject": str(key).encode(),
        "ce_subjectkind": b"order",
        "ce_time": row["created_at"].isoformat().replace("+00:00", "Z").encode(),
        "ce_sequence": b"00000000000000000007",
        "ce_correlationid": str(cause.correlation_id).encode(),
        "ce_causationid": str(cause.id).encode(),
        "traceparent": TRACE.encode(),
    }


async def test_rows_sent_again_are_the_same_bytes_and_in_order(world: World) -> None:
    keys = [uuid4() for _ in range(20)]
    before = await world.rows("select part, snap from outbox_shard order by part")
    for turn in range(5):
        await world.tell([declined(key) for key in keys], first=1 + turn * len(keys))
    async with running(world.relay("a")):
        await until(world.published)
    # As after a crash before anything was saved.
    await world.admin("update outbox_shard set snap = $1", before[0]["snap"])
    violations = ORDER_VIOLATION._value.get()  # noqa: SLF001 - the client offers no way to read a counter
    async with running(world.relay("b")):
        await until(world.published)
    records = await world.records()
    assert len(records) == 200
    copies: dict[bytes, set[tuple[object, ...]]] = {}
    order: dict[bytes | None, list[bytes]] = {}
    for one in records:
        headers = dict(one.headers)
        same = (one.key, one.value, one.partition, one.timestamp, one.headers)
        copies.setdefault(headers["ce_id"], set()).add(same)
        order.setdefault(one.key, []).append(headers["ce_sequence"])
    assert len(copies) == 100
    assert all(len(one) == 1 for one in copies.values())
    assert all(one[:5] == sorted(one[:5]) == one[5:] for one in order.values())
    assert ORDER_VIOLATION._value.get() == violations  # noqa: SLF001


async def test_two_relays_share_the_shards_and_a_stopped_one_hands_over_at_once(world: World) -> None:
    first, second = world.relay("a"), world.relay("b")
    stop_first = asyncio.Event()
    leaving = asyncio.create_task(first.run(stop_first))
    async with running(second):

        async def shared() -> bool:
            return len(first.leases.held) == len(second.leases.held) == PARTITIONS // 2

        await until(shared)
        assert not first.leases.held.keys() & second.leases.held.keys()
        stop_first.set()
        await leaving
        free = await world.rows("select part from outbox_shard where owner is null and lease_until < now()")
        assert len(free) + len(second.leases.held) >= PARTITIONS, "handed back, not left to run out"

        async def taken_over() -> bool:
            return len(second.leases.held) == PARTITIONS

        await until(taken_over)
        await world.tell([declined(uuid4()) for _ in range(100)])
        await until(world.published)
    assert len(await world.records()) == 100


async def test_the_shards_of_a_dead_relay_are_taken_over(world: World) -> None:
    dead, heir = world.relay("a"), world.relay("b")
    dying = asyncio.create_task(dead.run(asyncio.Event()))

    async def all_held() -> bool:
        return len(dead.leases.held) == PARTITIONS

    await until(all_held)
    crash(dead, dying)
    await asyncio.gather(dying, return_exceptions=True)
    owned = await world.rows("select part from outbox_shard where owner is not null")
    assert len(owned) == PARTITIONS, "it must not have handed anything back"
    await world.tell([declined(uuid4()) for _ in range(100)])
    async with running(heir):
        await until(world.published)
    assert len(await world.records()) == 100


async def test_a_restarted_relay_does_not_wait_for_its_own_lease(world: World) -> None:
    patient = Pace(terms=Terms(lease_s=600, renew_s=0.3))
    dead = world.relay("a", pace=patient)
    dying = asyncio.create_task(dead.run(asyncio.Event()))

    async def all_held() -> bool:
        return len(dead.leases.held) == PARTITIONS

    await until(all_held)
    crash(dead, dying)
    await asyncio.gather(dying, return_exceptions=True)
    await world.tell([declined(uuid4())])
    async with running(world.relay("a", pace=patient)):
        await until(world.published)


async def test_a_refused_record_stops_its_key_alone_and_the_producer_is_replaced(world: World) -> None:
    await _use_small_topics(world)
    stuck = uuid4()
    free = _beside(stuck)
    sizes = ((free, 10), (stuck, 10), (stuck, 60_000), (free, 10), (stuck, 10))
    await world.tell([_held(key, size) for key, size in sizes])
    await world.tell([declined(stuck), returned(free)], first=6)
    rebuilt = _rebuilds("refused")
    async with running(world.relay()):
        await until(world.published)
        assert _rebuilds("refused") > rebuilt
        await world.tell([_held(stuck, 10), _held(free, 10)], first=8)
        await until(world.published)
    arrived = {(one.key, int(dict(one.headers)["ce_sequence"])) for one in await world.records()}
    assert arrived == {
        *((str(free).encode(), nr) for nr in (1, 4, 7, 9)),
        *((str(stuck).encode(), nr) for nr in (2, 6)),
    }
    parked = await world.rows("select key, key_seq, state, error from outbox_parked order by id")
    assert [(one["key"], one["key_seq"], one["state"]) for one in parked] == [
        (str(stuck), nr, "parked") for nr in (3, 5, 8)
    ]
    assert "TooLarge" in parked[0]["error"]


async def test_a_record_of_an_unacceptable_time_is_parked_and_the_rest_goes_on(world: World) -> None:
    await _use_topics(world, {"message.timestamp.before.max.ms": "600000"})
    stuck = uuid4()
    free = _beside(stuck)
    await world.tell([_held(free, 10), _held(stuck, 10), _held(stuck, 10), _held(free, 10)])
    await world.admin("update outbox set created_at = now() - interval '1 hour' where key_seq = 2")
    async with running(world.relay()):
        await until(world.published)
    parked = await world.rows("select key, key_seq, state, error from outbox_parked order by id")
    assert [(one["key"], one["key_seq"]) for one in parked] == [(str(stuck), 2), (str(stuck), 3)]
    assert "InvalidTimestamp" in parked[0]["error"]
    assert {one.key for one in await world.records()} == {str(free).encode()}


class Nameless(str):
    """A key that is none on the wire: a compacted topic takes no record without a key."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        return None  # type: ignore[return-value]


async def test_what_the_broker_finds_invalid_is_refused_and_not_waited_for(world: World) -> None:
    await _use_topics(world, {"cleanup.policy": "compact"})
    await world.tell([_held(uuid4(), 10), _held(uuid4(), 10)])
    columns = f"select {COLUMNS} from outbox order by id"
    good, bad = [cast("Row", dict(one)) for one in await world.rows(columns)]
    bad = cast("Row", {**bad, "key": Nameless(bad["key"])})
    sink = KafkaSink(world.kafka, service="payments", topic_prefix=world.prefix, instance="a")
    try:
        with pytest.raises(RefusedError, match="InvalidRecord"):
            await sink.publish(0, [good, bad], 10.0)
        await sink.publish(0, [good], 10.0)
    finally:
        await sink.close()


async def test_a_parked_key_stays_parked_for_the_next_owner(world: World) -> None:
    await _use_small_topics(world)
    stuck = uuid4()
    await world.tell([_held(stuck, 60_000)])
    async with running(world.relay("a")):
        await until(world.published)
    await world.tell([_held(stuck, 10), _held(uuid4(), 10)], first=2)
    async with running(world.relay("b")):
        await until(world.published)
    [arrived] = await world.records()
    assert arrived.key != str(stuck).encode()
    assert len(await world.rows("select id from outbox_parked")) == 2


async def test_a_parked_key_that_may_go_is_sent_in_order_and_a_skipped_row_is_not(world: World) -> None:
    await _use_small_topics(world)
    stuck, hopeless = uuid4(), uuid4()
    await world.tell([_held(stuck, 60_000), _held(stuck, 10), _held(hopeless, 60_000), _held(hopeless, 10)])
    async with running(world.relay()):
        await until(world.published)
        parked = await world.rows("select id from outbox_parked order by id")
        assert len(parked) == 4
        async with world.db.transaction() as tx:
            assert await parked_rows.skip(tx, [parked[0]["id"]], "too large for anybody", "asha") == 1
            assert await parked_rows.retry(tx, [("payment.held", str(one)) for one in (stuck, hopeless)]) == 3

        async def settled() -> bool:
            states = await world.rows("select state from outbox_parked order by id")
            return [one["state"] for one in states] == ["skipped", "published", "parked", "parked"]

        await until(settled)
        await world.tell([_held(stuck, 20)], first=5)
        await until(world.published)

        async def gone_on() -> bool:
            return len(await world.records()) == 2

        await until(gone_on)
    sequences = [int(dict(one.headers)["ce_sequence"]) for one in await world.records()]
    assert sequences == [2, 5]


async def test_what_is_parked_goes_by_itself_when_it_is_due_with_the_bytes_put_in_its_place(
    world: World,
) -> None:
    await _use_small_topics(world)
    stuck = uuid4()
    await world.tell([_held(stuck, 60_000), _held(stuck, 10)])
    async with running(world.relay()):
        await until(world.published)
        await world.admin("update outbox_parked set edited_payload = $1 where key_seq = 1", b'{"small":1}')
        await until(lambda: _has_states(world, ["published", "published"]))
    records = await world.records()
    assert [int(dict(one.headers)["ce_sequence"]) for one in records] == [1, 2]
    assert records[0].value == b'{"small":1}'


async def test_what_is_refused_again_waits_longer_and_holds_up_only_its_key(world: World) -> None:
    await _use_small_topics(world)
    hopeless = uuid4()
    mended = _beside(hopeless)
    await world.tell([_held(key, size) for size in (60_000, 10) for key in (hopeless, mended)])
    never = "update outbox_parked set next_at = now() + interval '1 hour'"
    async with running(world.relay()):
        await until(world.published)
        await world.admin(never)
        await world.admin("update outbox_parked set edited_payload = $1 where key_seq = 2", b"{}")
        async with world.db.transaction() as tx:
            await parked_rows.retry(tx, [("payment.held", str(key)) for key in (hopeless, mended)])
        await until(lambda: _has_states(world, ["parked", "published", "parked", "published"]))
    [first, *_] = await world.rows(
        "select attempts, next_at > last_failed_at as later from outbox_parked order by id"
    )
    assert first["attempts"] >= 1
    assert first["later"]


async def _has_states(world: World, states: list[str]) -> bool:
    return [one["state"] for one in await world.rows("select state from outbox_parked order by id")] == states


async def test_a_backlog_of_several_pages_arrives_whole(world: World) -> None:
    small = Pace(page=50)  # ordinary leases: what a brisk one cuts off may rightly come twice
    await world.tell([declined(uuid4()) for _ in range(500)])
    async with running(world.relay("a", pace=small)):
        await until(world.published)
        await world.tell([declined(uuid4()) for _ in range(500)])
        await until(world.published)
    ids = [dict(one.headers)["ce_id"] for one in await world.records()]
    assert len(ids) == len(set(ids)) == 1000


async def test_a_commit_wakes_the_relay(world: World) -> None:
    never = Pace(busy_poll_s=600, idle_poll_s=600, terms=BRISK.terms)
    relay = world.relay("a", told=world.db.told, pace=never)
    async with running(relay):

        async def level() -> bool:
            return len(relay.leases.held) == PARTITIONS and not any(
                shard.behind for shard in relay.leases.held.values()
            )

        await until(level)
        await world.tell([declined(uuid4())])
        await until(world.published, within_s=10)


async def test_the_relay_refuses_a_database_restored_into_another_cluster(world: World) -> None:
    await world.admin("update outbox_shard set snap = '900000000000:900000000000:' where part = 3")
    with pytest.raises(ForeignCursorError, match=r"\[3\]"):
        await world.relay().run(asyncio.Event())


async def test_a_broker_that_goes_away_and_comes_back_loses_nothing(world: World, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    own = await broker.start(tmp_path / "kafka")
    port = int(own.bootstrap.rpartition(":")[2])
    await provisioning.create(own.bootstrap, [BY_NAME[name] for name in NAMES], prefix=world.prefix)
    there = World(world.db, world.dsn, world.admin_dsn, own.bootstrap, world.prefix)
    try:
        async with running(there.relay()):
            await there.tell([declined(uuid4()) for _ in range(50)])
            await until(there.published)
            await own.stop()
            await there.tell([declined(uuid4()) for _ in range(50)])

            async def complained() -> bool:
                return (await there.rows("select count(*) from outbox"))[0][0] == 100 and not (
                    await there.published()
                )

            await until(complained)
            node = await broker.program(tmp_path / "kafka", port=port, log=tmp_path / "kafka.log")
            own = broker.Broker(await processes.serve(node), own.bootstrap, node.log)
            await until(there.published, within_s=60)
        ids = {dict(one.headers)["ce_id"] for one in await there.records()}
        assert len(ids) == 100
    finally:
        await own.stop()


class Bulky(PaymentHeld):
    """As large as a test likes; readers ignore the field."""

    note: str


def _held(key: UUID, size: int) -> Bulky:
    return Bulky(subject_id=key, case_id=uuid4(), reason="mismatch", open=True, note="x" * size)


def _beside(key: UUID) -> UUID:
    """Another key of the same partition."""
    part = partition_of(str(key).encode(), PARTITIONS)
    return next(one for one in iter(uuid4, None) if partition_of(str(one).encode(), PARTITIONS) == part)


async def _use_small_topics(world: World) -> None:
    """Topics that take 20,000 bytes at once."""
    await _use_topics(world, {"max.message.bytes": "20000"})


async def _use_topics(world: World, limits: dict[str, str]) -> None:
    """Topics with these limits; made so, since a changed limit takes effect some time later."""
    world.prefix += "limited."
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(world.prefix + name, PARTITIONS, 1, topic_configs=limits) for name in NAMES]
        )
    finally:
        await admin.close()


def _rebuilds(reason: str) -> float:
    return float(PRODUCER_REBUILD.labels(reason)._value.get())  # noqa: SLF001
