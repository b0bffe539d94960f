"""What inventory's clock does: it calls somebody, and never frees stock."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import structlog
from prometheus_client import REGISTRY

from services.chassis.reconciler import run_once
from services.inventory import reconcilers
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.examples import finalized, placed


async def read(_: Sequence[str]) -> bool:
    return True


async def test_a_hold_older_than_any_checkout_raises_an_alarm_and_stays(shop: Shop) -> None:
    await shop.fill(a=5)
    old, sold, young = uuid4(), uuid4(), uuid4()
    await shop.hear(placed(old), placed(sold), placed(young))
    await shop.hear(finalized(sold))
    await shop.rows(
        "update holds set opened_at = now() - interval '7 hours' where order_id <> $1 returning 1", young
    )

    with structlog.testing.capture_logs() as said:
        found = await run_once(reconcilers.alarm_old_holds, shop.db, read)

    assert found == 1
    assert [(line["log_level"], line["order_id"]) for line in said] == [("error", str(old))]
    assert REGISTRY.get_sample_value("kb_stuck_work", {"kind": "hold"}) == 1
    assert await shop.units() == (4, 2)


async def test_without_old_holds_nobody_is_called(shop: Shop) -> None:
    await shop.fill(a=5)
    await shop.hear(placed())
    async with shop.db.transaction() as tx:
        now = await tx.now()
        assert await reconcilers.alarm_old_holds.heal(tx, now) == 0
        assert await reconcilers.alarm_old_holds.heal(tx, now + timedelta(hours=7)) == 1
