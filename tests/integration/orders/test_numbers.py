"""What orders counts once it is committed, and what its tables say to whoever asks."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from services.chassis.ids import new_id
from services.orders import handlers
from services.orders.health import measuring
from services.orders.reconcilers import Limits
from tests.integration.orders.world import Orders
from tests.unit.orders import making

AGE = "update checkouts set since = since - make_interval(secs => $1) where order_id = $2"
PUT = "update checkouts set stage = $2, hold = 'held', asked = true, pay_within_s = 50 where order_id = $1"
STAGES = ("reserving", "awaiting_phone", "awaiting_payment", "verifying", "on_hold", "processing")
WAITED = "kb_payment_to_order_seconds"


def shown(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def measure(orders: Orders) -> None:
    async with orders.db.transaction() as tx:
        await measuring(Limits())(tx)


async def test_the_wait_from_the_proof_of_a_payment_to_its_order_is_observed(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    [row] = await orders.rows("select now() as now")
    paid = making.verified(waiting.order_id, amount_paisa=waiting.total_paisa or 0)
    paid = paid.model_copy(update={"verified_at": row["now"] - timedelta(seconds=7)})
    paid.within(making.an_envelope(1))
    before = shown(f"{WAITED}_bucket", le="5.0"), shown(f"{WAITED}_bucket", le="10.0")
    await orders.hear(paid)
    assert shown(f"{WAITED}_bucket", le="5.0") == before[0]
    assert shown(f"{WAITED}_bucket", le="10.0") == before[1] + 1


async def test_an_order_whose_money_was_quicker_than_its_stock_counts_from_hearing_of_the_money(
    orders: Orders,
) -> None:
    placed = await orders.placed(new_id(), kurta=2)
    await orders.hear(making.verified(placed.order_id, amount_paisa=200_00))
    before = shown(f"{WAITED}_count")
    await orders.hear(making.reserved(placed))
    assert (await orders.read(placed.order_id)).stage == "confirmed"
    assert shown(f"{WAITED}_count") == before + 1


async def test_what_is_rolled_back_is_not_counted(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    before = shown(f"{WAITED}_count"), shown("kb_order_steps_total", status="confirmed")
    heard = [making.verified(waiting.order_id, amount_paisa=waiting.total_paisa or 0)]
    handler = handlers.consumer.subscriptions["payment.verified"].handler

    async def heard_and_lost() -> None:
        async with orders.db.transaction() as tx:
            await handler(tx, heard)
            raise ConnectionError("gone before the commit")

    with pytest.raises(ConnectionError):
        await heard_and_lost()
    assert (shown(f"{WAITED}_count"), shown("kb_order_steps_total", status="confirmed")) == before


async def test_every_step_of_a_checkout_and_of_an_order_is_counted_once(orders: Orders) -> None:
    steps = (("none", "reserving"), ("reserving", "awaiting_payment"), ("awaiting_payment", "confirmed"))

    def counted() -> list[float]:
        return [
            *(shown("kb_checkout_steps_total", old=old, new=new) for old, new in steps),
            shown("kb_order_steps_total", status="confirmed"),
        ]

    before = counted()
    confirmed = await orders.confirmed(new_id())
    await orders.hear(making.verified(confirmed.order_id, amount_paisa=confirmed.total_paisa or 0))
    assert counted() == [one + 1 for one in before]


async def test_checkouts_under_way_are_told_by_stage_with_the_oldest(orders: Orders) -> None:
    await orders.confirmed(new_id())
    old, _ = await orders.awaiting_payment(new_id()), await orders.awaiting_payment(new_id())
    await orders.as_admin(AGE, 300.0, old.order_id)
    await measure(orders)
    assert shown("kb_checkouts", stage="awaiting_payment") == 2
    assert 300 <= shown("kb_checkout_oldest_seconds", stage="awaiting_payment") < 360
    assert shown("kb_checkouts", stage="reserving") == 0
    assert shown("kb_checkout_oldest_seconds", stage="reserving") == 0


@pytest.mark.parametrize("stage", STAGES)
async def test_a_checkout_past_the_limit_of_its_stage_is_stuck_half_a_minute_later(
    orders: Orders, stage: str
) -> None:
    limits = Limits(reserve_s=100, payment_grace_s=100, review_s=100, process_s=100, phone_s=100)
    one = await orders.placed(new_id())
    await orders.as_admin(PUT, one.order_id, stage)
    waits_s = 150.0 if stage in {"awaiting_payment", "verifying"} else 100.0

    async def stuck() -> float:
        async with orders.db.transaction() as tx:
            await measuring(limits)(tx)
        return shown("kb_stuck_work", kind=f"checkout_{stage}")

    await orders.as_admin(AGE, waits_s + 10, one.order_id)
    assert await stuck() == 0, "the clock still has time to move it"
    await orders.as_admin(AGE, 21.0, one.order_id)
    assert await stuck() == 1


async def test_an_order_without_items_shows_whoever_made_it(orders: Orders) -> None:
    made = await orders.confirmed(new_id())
    await measure(orders)
    assert shown("kb_orders_without_items") == 0
    await orders.as_admin("alter table order_items disable trigger all")
    await orders.as_admin("delete from order_items where order_id = $1", made.order_id)
    await measure(orders)
    assert shown("kb_orders_without_items") == 1
