"""What orders says of its own work: what is stuck in which stage, and what is only waiting for its time."""

from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from services.chassis.ids import new_id
from services.chassis.reconciler import run_once
from services.orders import reconcilers
from services.orders.health import longest, measuring, numbers_of
from services.orders.reconcilers import Limits
from tests.integration.orders.world import Orders
from tests.unit.orders import making

AGE = "update checkouts set since = since - make_interval(secs => $1)"


async def read(_: Sequence[str]) -> bool:
    return True


async def numbers(orders: Orders) -> dict[str, Any]:
    async with orders.db.transaction() as tx:
        return await numbers_of(Limits())(tx, await tx.now())


async def test_every_checkout_and_order_is_counted_by_where_it_stands(orders: Orders) -> None:
    await orders.placed(new_id())
    await orders.awaiting_payment(new_id())
    for _ in range(2):
        await orders.confirmed(new_id())
    found = await numbers(orders)
    assert found["counts"]["under_way"] == dict.fromkeys(longest(Limits()), 0) | {
        "reserving": 1,
        "awaiting_payment": 1,
    }
    assert found["counts"]["checkouts_last_day"] == {"reserving": 1, "awaiting_payment": 1, "confirmed": 2}
    assert found["counts"]["orders_last_day"] == {"confirmed": 2}
    assert found["stuck"] == {}
    assert found["orders_without_items"] == 0


@pytest.mark.parametrize(
    ("seconds", "stuck"), [(900 + 8_100 + 29, {}), (900 + 8_100 + 31, {"awaiting_payment": 1})]
)
async def test_a_checkout_is_stuck_half_a_minute_past_its_limit(
    orders: Orders, seconds: int, stuck: dict[str, int]
) -> None:
    await orders.awaiting_payment(new_id())
    await orders.as_admin(AGE, seconds)
    assert (await numbers(orders))["stuck"] == stuck


async def test_what_a_reconciler_has_healed_is_not_stuck(orders: Orders) -> None:
    await orders.awaiting_payment(new_id())
    await orders.as_admin(AGE, 20_000)
    assert (await numbers(orders))["stuck"] == {"awaiting_payment": 1}
    async with orders.db.transaction() as tx:
        assert await reconcilers.expire_unpaid.heal(tx, await tx.now()) == 1
    assert (await numbers(orders))["stuck"] == {}


async def test_an_order_without_items_would_be_seen(orders: Orders) -> None:
    """No service can make one; here the triggers that see to it are off."""
    order = await orders.confirmed(new_id())
    await orders.as_admin("alter table order_items disable trigger all")
    await orders.as_admin("delete from order_items where order_id = $1", order.order_id)
    assert (await numbers(orders))["orders_without_items"] == 1


async def test_a_paid_checkout_without_a_word_about_its_stock_calls_somebody(orders: Orders) -> None:
    paid = await orders.placed(new_id())
    await orders.placed(new_id())
    await orders.hear(making.verified(paid.order_id))

    async def look() -> int | None:
        return await run_once(reconcilers.alarm_paid_unreserved, orders.db, read)

    assert await look() == 0
    await orders.as_admin(AGE, 121)
    with structlog.testing.capture_logs() as said:
        assert await look() == 1
    assert [(line["log_level"], line["oldest"]) for line in said] == [("error", str(paid.order_id))]
    assert REGISTRY.get_sample_value("kb_stuck_work", {"kind": "paid_checkout"}) == 1
    await orders.as_admin(AGE, 30)
    assert (await numbers(orders))["stuck"] == {"paid_checkout": 1, "reserving": 1}, "each is told once"
    async with orders.db.transaction() as tx:
        await measuring(Limits())(tx)
    assert REGISTRY.get_sample_value("kb_stuck_work", {"kind": "checkout_reserving"}) == 1
    assert (await orders.read(paid.order_id)).stage == "reserving", "it is not ours to give up"


async def test_money_that_does_not_come_back_calls_somebody_an_hour_after_payments_does(
    orders: Orders,
) -> None:
    waiting = await orders.awaiting_payment(new_id())
    await orders.hear(making.failed(waiting.order_id, 5))
    await orders.hear(making.verified(waiting.order_id, 6, waiting.total_paisa or 0))
    await orders.as_admin(AGE, 90_001)
    await orders.hear(making.rejected(await orders.read(waiting.order_id)))
    assert (await orders.read(waiting.order_id)).stage == "refund_pending"

    async def look() -> int | None:
        return await run_once(reconcilers.alarm_unrefunded, orders.db, read)

    assert await look() == 0, "it counts from when the money was to go back"
    await orders.as_admin(AGE, 90_001)
    with structlog.testing.capture_logs() as said:
        assert await look() == 1
    assert [(line["log_level"], line["oldest"]) for line in said] == [("error", str(waiting.order_id))]
    assert REGISTRY.get_sample_value("kb_stuck_work", {"kind": "refund_pending"}) == 1
    assert (await numbers(orders))["stuck"] == {"refund_pending": 1}
    await orders.hear(making.refunded(waiting.order_id, 7))
    assert await look() == 0
    assert (await numbers(orders))["stuck"] == {}
