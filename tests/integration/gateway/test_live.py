"""Live hints over a real broker: a held caller hears at once, and no hint is missed between two looks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer

from services.chassis.ids import new_id
from services.gateway.live import Live, Told, Watch, Woken
from tests.support.waiting import until

LONG_S = 30.0


@pytest.fixture
async def prefix(topics: Callable[..., Awaitable[str]]) -> str:
    return await topics("order.state", "payment.opened")


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=kafka)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def live(kafka: str, prefix: str) -> AsyncIterator[Live]:
    made = Live(kafka, prefix)
    running = asyncio.create_task(made.run())
    await until(lambda: _hears(made), what="the reader is at the end")
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert made.hears is False


async def _hears(live: Live) -> bool:
    return live.hears


async def heard(watch: Watch) -> bool:
    """Whether a hint came, however long the reader's own patience is."""
    async with asyncio.timeout(LONG_S):
        await watch.hint()
    return True


@pytest.mark.parametrize("topic", ["order.state", "payment.opened"])
async def test_a_waiter_hears_of_its_order(
    live: Live, prefix: str, producer: AIOKafkaProducer, topic: str
) -> None:
    order_id = new_id()
    with live.watch(order_id) as watch:
        await producer.send_and_wait(prefix + topic, b"{}", key=str(order_id).encode())
        assert await heard(watch)


async def test_every_waiter_of_an_order_hears_and_no_other(
    live: Live, prefix: str, producer: AIOKafkaProducer
) -> None:
    order_id = new_id()
    with live.watch(order_id) as one, live.watch(order_id) as two, live.watch(new_id()) as other:
        await producer.send_and_wait(prefix + "order.state", b"{}", key=str(order_id).encode())
        assert await heard(one)
        assert await heard(two)
        assert not other.is_hinted


async def test_hints_of_many_orders_on_all_partitions_arrive(
    live: Live, prefix: str, producer: AIOKafkaProducer
) -> None:
    ids = [new_id() for _ in range(60)]

    async def wait_for(order_id: UUID) -> bool:
        with live.watch(order_id) as watch:
            await producer.send_and_wait(prefix + "order.state", b"{}", key=str(order_id).encode())
            return await heard(watch)

    assert all(await asyncio.gather(*(wait_for(order_id) for order_id in ids)))


async def test_a_hint_between_two_waits_is_kept(live: Live, prefix: str, producer: AIOKafkaProducer) -> None:
    order_id = new_id()
    with live.watch(order_id) as watch, live.watch(order_id) as probe:
        for _ in range(5):  # hints coalesce
            await producer.send_and_wait(prefix + "order.state", b"{}", key=str(order_id).encode())
        assert await heard(probe)
        started = monotonic()
        assert await watch.wait(LONG_S) is Woken.HINT
        assert monotonic() - started < LONG_S


async def test_records_that_are_no_events_disturb_nobody(
    live: Live, prefix: str, producer: AIOKafkaProducer
) -> None:
    order_id = new_id()
    with live.watch(order_id) as watch:
        for key, value in ((None, b"x"), (b"\xff", None), (b"", b""), (b"not-an-id", b"[" * 1000)):
            await producer.send_and_wait(prefix + "payment.opened", value, key=key)
        await producer.send_and_wait(prefix + "order.state", None, key=str(order_id).encode())
        assert await heard(watch)


async def test_nobody_is_remembered_who_no_longer_waits(live: Live) -> None:
    with live.watch(new_id()):
        assert live.watched == 1
    assert live.watched == 0


async def test_without_kafka_a_waiter_looks_for_itself(free_port: Callable[[], int]) -> None:
    live = Live(f"127.0.0.1:{free_port()}", "")
    with live.watch(new_id()) as watch:
        assert await watch.wait(LONG_S) is Woken.SILENCE  # time is left: ask the owner
        assert await watch.wait(0.01) is Woken.OVER
        assert await watch.wait(-1.0) is Woken.OVER


async def test_what_was_told_before_the_watch_is_known(
    live: Live, prefix: str, producer: AIOKafkaProducer
) -> None:
    order_id = new_id()
    key = str(order_id).encode()
    for body in (b'{"stage":"reserving","version":1}', b'{"stage":"awaiting_payment","version":2}'):
        await producer.send_and_wait(prefix + "order.state", body, key=key)
    await producer.send_and_wait(prefix + "order.state", b'{"stage":"reserving","version":1}', key=key)
    await producer.send_and_wait(prefix + "payment.opened", b"{}", key=key)

    async def known() -> bool:
        with live.watch(order_id) as watch:
            return watch.told == Told("awaiting_payment", 2, is_opened=True)

    await until(known, what="the newest stage and the attempt")


async def test_what_is_remembered_is_bounded(
    live: Live, prefix: str, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.live.REMEMBERED", 2)
    keys = [str(new_id()).encode() for _ in range(3)]
    for version, key in enumerate(keys, 1):
        body = b'{"stage":"expired","version":%d}' % version
        await producer.send_and_wait(prefix + "order.state", body, key=key)

    async def last_known() -> bool:
        return live.told(keys[2]) == Told("expired", 3)

    await until(last_known)
    assert live.told(keys[0]) == Told()
