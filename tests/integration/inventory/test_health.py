"""What inventory says of its own work: holds by status, and those nobody has ended."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from services.chassis.app import Process
from services.chassis.db import Tx
from services.chassis.housekeeping import HOUSEKEEPING, alarm_idle_shards
from services.chassis.ids import new_id
from services.inventory.app import build
from services.inventory.health import numbers
from services.inventory.reconcilers import alarm_old_holds
from services.inventory.settings import InventorySettings
from tests.integration.inventory.front import AUDIENCE, ISSUER, token, write_jwks
from tests.integration.inventory.shop import Shop
from tests.support.waiting import until
from tests.unit.inventory.examples import finalized, placed


async def test_holds_are_counted_and_old_ones_are_stuck(shop: Shop) -> None:
    await shop.fill(a=9)
    old, sold, young = new_id(), new_id(), new_id()
    await shop.hear(placed(old), placed(sold), placed(young))
    await shop.hear(finalized(sold))
    assert await _asked(shop) == _said(held=2, old=0)
    await _age(shop, old)
    assert await _asked(shop) == _said(held=2, old=1)


async def test_a_shard_that_nobody_publishes_calls_somebody_after_half_a_minute(shop: Shop) -> None:
    async with shop.db.transaction() as tx:
        assert await _idle(tx, lease="'-infinity'", saved="now() - interval '29 s'") == 0
        assert await _idle(tx, lease="'-infinity'", saved="now() - interval '31 s'") == 12
        assert await _idle(tx, lease="now() + interval '1 s'", saved="now() - interval '31 s'") == 0


async def _idle(tx: Tx, *, lease: str, saved: str) -> int:
    await tx.execute(f"update outbox_shard set lease_until = {lease}, saved_at = {saved}")
    return await alarm_idle_shards.heal(tx, await tx.now())


async def _asked(shop: Shop) -> dict[str, Any]:
    async with shop.db.transaction() as tx:
        return await numbers(tx, await tx.now())


def _said(*, held: int, old: int) -> dict[str, Any]:
    counts = {"holds_last_day": {"held": held, "consumed": 1}, "held": held}
    return {"counts": counts, "stuck": {"holds": old}}


async def _age(shop: Shop, order_id: UUID) -> None:
    await shop.rows(
        "update holds set opened_at = now() - interval '7 hours' where order_id = $1 returning 1", order_id
    )


async def test_a_running_service_answers_its_operators_also_without_kafka(
    shop: Shop, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    write_jwks(tmp_path / "jwks.json")
    settings = InventorySettings(
        database_url=shop.db.dsn,
        kafka=f"127.0.0.1:{free_port()}",
        port=free_port(),
        issuer=ISSUER,
        audience=AUDIENCE,
        jwks_file=tmp_path / "jwks.json",
    )
    process = Process(build(settings))
    running = asyncio.create_task(process.run())
    headers = {"authorization": f"Bearer {token('operator')}"}
    url = f"http://127.0.0.1:{settings.port}"
    try:
        async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
            listed = await until(lambda: _all_have_run(client), what="every duty has had its first round")
            assert {one["name"] for one in listed} == {one.name for one in (alarm_old_holds, *HOUSEKEEPING)}
            health = (await client.get("/internal/health/business")).json()
            assert health["reconcilers"] == {"silent": [], "failing": [], "paused": {}}
            assert health["stuck"] == {"holds": 0, "retries": 0}
            path = "/internal/operator/reconcilers/alarm_old_holds/run"
            done = await client.post(path, json={"dry_run": True})
            assert done.json() == {"dry_run": True, "found": 0, "tells": []}
    finally:
        process.stopping.set()
        assert await running == 0


async def _all_have_run(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    try:
        found = (await client.get("/internal/operator/reconcilers")).json()["data"]
    except httpx2.HTTPError:  # it is only starting
        return []
    return found if all(one["last_success_at"] for one in found) else []
