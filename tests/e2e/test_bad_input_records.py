"""Records that no service of ours would send: parked where a person sees them; everything else goes on."""

from collections.abc import Mapping, Sequence
from functools import partial
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from contracts.topics import BY_NAME
from infra.demo.chapters import at_stage, three_vendors
from infra.demo.scene import Scene, eventually
from infra.stack import Stack
from services.chassis.consumer import Consumer
from services.chassis.ids import new_id
from services.chassis.listener import Place, caught_up
from services.inventory.handlers import consumer as inventory
from services.orders.handlers import consumer as orders
from services.payments.handlers import consumer as payments
from tests.e2e.asking import rows
from tests.support.records import Sent
from tests.support.topic_log import read_all
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEARERS: Mapping[str, Consumer] = {"orders": orders, "inventory": inventory, "payments": payments}
MARK = "words-that-belong-in-no-log"
PARKED = "select topic, part, kafka_offset, reason, state, payload from inbox_parked"

Where = tuple[str, int, int]
"""Topic, partition, offset."""


def headers_for(topic: str, *, version: int | None = None) -> dict[str, str]:
    """What its owner would write above a new event."""
    kind = BY_NAME[topic].event.type_name()
    return {
        "ce_specversion": "1.0",
        "ce_id": str(new_id()),
        "ce_source": f"/services/{BY_NAME[topic].owner}",
        "ce_type": kind if version is None else f"{kind.rpartition('.')[0]}.v{version}",
        "ce_sequence": f"{1:020d}",
    }


def record(topic: str, key: str, value: bytes | None, headers: Mapping[str, str]) -> Sent:
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    return Sent(topic, key.encode(), value, pairs)


def strangers(topic: str) -> list[tuple[Sent, str]]:
    """One of each kind, with the reason it must be parked for."""
    key, body = str(uuid4()), f'{{"{MARK}": 1}}'.encode()
    return [
        (record(topic, key, f"{{{MARK}".encode(), headers_for(topic)), "INVALID_BODY"),
        (record(topic, key, b"[1, 2]", headers_for(topic)), "INVALID_BODY"),
        (record(topic, key, b"\xff\xfe" + body, headers_for(topic)), "INVALID_BODY"),
        (record(topic, key, body, headers_for(topic)), "INVALID_BODY"),
        (record(topic, key, b"", headers_for(topic)), "INVALID_BODY"),
        (record(topic, key, body, {}), "INVALID_ENVELOPE"),
        (record(topic, key, body, headers_for(topic) | {"ce_id": "7"}), "INVALID_ENVELOPE"),
        (record(topic, key, body, headers_for(topic) | {"ce_sequence": "-1"}), "INVALID_ENVELOPE"),
        (record(topic, key, None, headers_for(topic)), "NULL_VALUE"),
        (record(topic, key, body, headers_for(topic, version=9)), "UNKNOWN_TYPE"),
    ]


def under_another_key(told: Sequence[ConsumerRecord]) -> list[tuple[Sent, str]]:
    """A real record of each topic once more, as new, with a key that is not its body's id."""
    latest = {one.topic: one for one in told if one.value and one.topic in BY_NAME}
    return [
        (record(topic, str(uuid4()), one.value, headers_for(topic)), "KEY_MISMATCH")
        for topic, one in latest.items()
    ]


async def put(kafka: str, records: Sequence[Sent]) -> list[Where]:
    """Where each lies now."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        futures = [
            await producer.send(one.topic, one.value, key=one.key, headers=list(one.headers))
            for one in records
        ]
        placed = [await future for future in futures]
    finally:
        await producer.stop()
    return [(one.topic, one.partition, one.offset) for one in placed]


async def test_strange_records_are_parked_everywhere_and_orders_go_on(scene: Scene) -> None:
    kafka = scene.stack.addresses["kafka"]
    await three_vendors(scene)
    told = await read_all(kafka, list(BY_NAME))
    pairs = [pair for topic in BY_NAME for pair in strangers(topic)] + under_another_key(told)
    places = await put(kafka, [sent for sent, _ in pairs])
    expected = dict(zip(places, (why for _, why in pairs), strict=True))
    await three_vendors(scene)
    for service, consumer in HEARERS.items():
        heard = list(consumer.subscriptions)
        at_the_end = partial(caught_up, Place(kafka, "", "a test"), service, heard)
        await until(at_the_end, what=f"{service} at the end of its topics")
        found = await parked_by(scene, service)
        wanted = {where: why for where, why in expected.items() if where[0] in heard}
        assert {where: why for where, (why, _) in found.items() if where in expected} == wanted
        assert {state for where, (_, state) in found.items() if where in expected} == {"dead"}
    nothing_was_logged(scene)


async def parked_by(scene: Scene, service: str) -> dict[Where, tuple[str, str]]:
    """Where a parked record lay -> why, and its state."""
    return {
        (row["topic"], row["part"], row["kafka_offset"]): (row["reason"], row["state"])
        for row in await rows(scene, service, PARKED)
    }


def nothing_was_logged(scene: Scene) -> None:
    assert isinstance(scene.stack, Stack)
    logs = {path.name: path.read_text() for path in (scene.stack.folder / "logs").glob("*-0.log")}
    assert {f"{name}-0.log" for name in ("orders", "inventory", "payments", "gateway")} <= set(logs)
    assert [name for name, text in logs.items() if MARK in text or "Traceback" in text] == []


async def test_a_strange_state_does_not_blind_the_gateway(scene: Scene) -> None:
    """Everybody's live status is read from one compacted topic; one bad record there is only skipped."""
    strange = [sent for sent, _ in strangers("order.state")]
    await put(scene.stack.addresses["kafka"], strange)
    _, sku = await scene.goods("after-a-strange-state", price_paisa=9_900, stock=1)
    buyer = scene.customer()
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    assert checkout["stage"] == "awaiting_payment"
    await scene.pay(checkout)
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")
