"""A running process measures by itself what its tables and the broker say, and ends in time all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from prometheus_client import REGISTRY

from services.chassis.app import Process
from services.chassis.gauges import MEASURED
from services.inventory.app import build
from services.inventory.settings import InventorySettings
from tests.integration.inventory.front import write_jwks
from tests.integration.inventory.shop import Shop
from tests.support.records import send, sent
from tests.support.waiting import until
from tests.unit.inventory.examples import placed


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_a_process_shows_how_late_it_is_and_what_its_tables_say(
    shop: Shop, kafka: str, topics: Callable[..., Awaitable[str]], tmp_path: Path
) -> None:
    prefix = await topics()
    write_jwks(tmp_path / "jwks.json")
    settings = InventorySettings(
        database_url=shop.db.dsn, kafka=kafka, topic_prefix=prefix, jwks_file=tmp_path / "jwks.json"
    )
    await send(kafka, prefix, [sent(placed(a=1))])
    process = Process(build(settings))
    for what in ("tables", "lag"):
        MEASURED.labels(what).set(0)
    running = asyncio.create_task(process.run())

    async def measured() -> bool:
        late = shown("kb_consumer_lag_seconds", topic="order.placed")
        ran = shown("kb_reconciler_last_success_timestamp_seconds", reconciler="alarm_old_holds")
        sizes = shown("kb_outbox_leaf_bytes", leaf="0")
        return late is not None and bool(ran and sizes)

    try:
        await until(measured)
    finally:
        process.stopping.set()
        assert await running == 0
    assert all((shown("kb_measured_timestamp_seconds", what=what) or 0) > 0 for what in ("tables", "lag"))
