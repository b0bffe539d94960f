"""The whole service as one process: an order comes in on Kafka, stock is held, the answer goes out."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import httpx2
from aiokafka import AIOKafkaConsumer

from contracts.inventory import StockReserved
from contracts.topics import consumer_number
from services.chassis import inbox, parking
from services.chassis.app import STOPPED_WITHIN_S, Process
from services.chassis.listener import Place, caught_up
from services.inventory.app import build
from services.inventory.settings import InventorySettings
from tests.integration.inventory.front import write_jwks
from tests.integration.inventory.shop import Shop
from tests.support.records import heard, send, sent
from tests.support.tokens import NAME, tokens_in
from tests.support.waiting import until
from tests.unit.inventory.examples import expired, finalized, placed


async def test_an_order_is_held_answered_and_sold_over_kafka(
    shop: Shop, kafka: str, topics: Callable[..., Awaitable[str]], tmp_path: Path
) -> None:
    await shop.fill(a=5)
    prefix = await topics()
    write_jwks(tmp_path / "jwks.json")
    settings = InventorySettings(
        database_url=shop.db.dsn, kafka=kafka, topic_prefix=prefix, jwks_file=tmp_path / "jwks.json"
    )
    process = Process(build(settings))
    running = asyncio.create_task(process.run())
    try:
        sold, ended = placed(uuid4(), a=2), placed(uuid4(), a=1)
        await send(kafka, prefix, [sent(sold), sent(ended), sent(sold)])
        answer = await _first(kafka, f"{prefix}stock.reserved")
        told = StockReserved.model_validate_json(answer)
        assert told.order_id in {sold.order_id, ended.order_id}
        assert told.total_paisa in {2 * 1000 + 150, 1000 + 150}

        await send(kafka, prefix, [sent(finalized(sold.order_id)), sent(expired(ended.order_id))])
        await until(lambda: _is(shop, (3, 0)), what="2 sold, 1 back")
    finally:
        process.stopping.set()
        async with asyncio.timeout(STOPPED_WITHIN_S):
            assert await running == 0
    assert await shop.broken_promises() == []
    async with shop.db.transaction() as tx:
        owned = await tx.fetchval("select count(*) from outbox_shard where owner is not null")
    assert owned == 0, "the leases were handed back"
    heard = ["order.placed", "order.finalized", "order.expired"]
    assert await caught_up(Place(kafka, prefix, "afterwards"), "inventory", heard), "the consumer committed"


async def test_a_process_retries_what_is_parked_and_lets_operators_look(
    shop: Shop,
    kafka: str,
    topics: Callable[..., Awaitable[str]],
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    await shop.fill(a=5)
    one, number = heard(placed(uuid4(), a=2)), consumer_number("inventory", "order.placed")
    async with shop.db.transaction() as tx:
        await inbox.claim(tx, number, [one])
        await parking.park(tx, number, [parking.waiting(one, "LookupError", "was broken")])
    tokens = tokens_in(tmp_path)
    settings = InventorySettings(
        database_url=shop.db.dsn,
        kafka=kafka,
        topic_prefix=await topics(),
        jwks_file=tokens.jwks,
        issuer=NAME,
        port=free_port(),
    )
    process = Process(build(settings))
    running = asyncio.create_task(process.run())
    try:
        await until(lambda: _is(shop, (5, 2)), what="2 held")
        headers = {"authorization": f"Bearer {tokens.issuer.make_token(subject=uuid4(), roles=['operator'])}"}
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{settings.port}", headers=headers
        ) as client:
            found = (await client.get("/internal/operator/parked?state=replayed")).json()["data"]
        assert [(row["key"], row["outcome"]) for row in found] == [(one.key, "changed")]
    finally:
        process.stopping.set()
        assert await running == 0


async def _is(shop: Shop, units: tuple[int, int]) -> bool:
    return await shop.units() == units


async def _first(kafka: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            value: bytes = (await consumer.getone()).value
            return value
    finally:
        await consumer.stop()
