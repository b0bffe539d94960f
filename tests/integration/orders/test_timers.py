"""The clock's door: what is due moves, what is not stays, and moving it twice changes nothing."""

from uuid import UUID

import pytest

from contracts.topics import PARTITIONS
from services.chassis.ids import new_id
from services.chassis.murmur2 import partition_of
from services.chassis.reconciler import Reconciler, Skipped, dry_run, run_once
from services.orders import reconcilers
from services.orders.reconcilers import Limits, timed
from tests.integration.orders.world import Orders
from tests.unit.orders import making

AGE = "update checkouts set since = since - make_interval(secs => $1)"
PUBLISHED = "update outbox_shard set snap = pg_current_snapshot()"


async def run(orders: Orders, duty: Reconciler) -> int:
    async with orders.db.transaction() as tx:
        return await duty.heal(tx, await tx.now())


async def age(orders: Orders, seconds: float) -> None:
    await orders.as_admin(AGE, seconds)


async def test_a_checkout_inventory_does_not_answer_is_cancelled_two_minutes_after_it_was_told(
    orders: Orders,
) -> None:
    placed = await orders.placed(new_id())
    await age(orders, 300)
    assert await run(orders, reconcilers.cancel_unreserved) == 0, "order.placed is still in the outbox"

    await orders.as_admin(PUBLISHED)
    assert await run(orders, reconcilers.cancel_unreserved) == 0, "the two minutes begin now"
    await age(orders, 121)
    assert await run(orders, reconcilers.cancel_unreserved) == 1
    assert (await orders.read(placed.order_id)).stage == "cancelled"
    assert await run(orders, reconcilers.cancel_unreserved) == 0


async def test_the_time_in_which_inventory_cannot_be_heard_does_not_count(orders: Orders) -> None:
    placed, paid = await orders.placed(new_id()), await orders.placed(new_id())
    await orders.hear(making.verified(paid.order_id))
    await orders.as_admin("update checkouts set asked = true")
    await age(orders, 900)
    hearing = False

    async def caught_up(_: object) -> bool:
        return hearing

    since_paid = "select since from checkouts where order_id = $1", paid.order_id
    before = await orders.rows(*since_paid)
    assert await run_once(reconcilers.cancel_unreserved, orders.db, caught_up) is None
    assert await orders.rows(*since_paid) == before
    assert await orders.rows("select from reconciler_runs where last_run_at is not null")
    assert not await orders.rows("select from reconciler_runs where last_success_at is not null")

    hearing = True
    await age(orders, 110)
    assert await run_once(reconcilers.cancel_unreserved, orders.db, caught_up) == 0
    assert (await orders.read(placed.order_id)).stage == "reserving"
    await age(orders, 11)
    assert await run_once(reconcilers.cancel_unreserved, orders.db, caught_up) == 1
    assert (await orders.read(placed.order_id)).stage == "cancelled"


async def test_only_the_time_since_the_last_round_does_not_count(orders: Orders) -> None:
    placed = await orders.placed(new_id())
    await orders.as_admin("update checkouts set asked = true")
    await orders.as_admin(
        "insert into reconciler_runs (name, last_run_at)"
        " values ('cancel_unreserved', now() - interval '10 s')"
    )
    await age(orders, 125)

    async def caught_up(_: object) -> bool:
        return False

    assert await run_once(reconcilers.cancel_unreserved, orders.db, caught_up) is None
    assert await run(orders, reconcilers.cancel_unreserved) == 0
    await age(orders, 6)
    assert await run(orders, reconcilers.cancel_unreserved) == 1
    assert (await orders.read(placed.order_id)).stage == "cancelled"


async def test_a_dry_run_in_an_outage_changes_no_clock(orders: Orders) -> None:
    await orders.placed(new_id())
    await orders.as_admin("update checkouts set asked = true")
    await age(orders, 300)
    before = await orders.rows("select since from checkouts")

    async def not_caught_up(_: object) -> bool:
        return False

    assert await dry_run(reconcilers.cancel_unreserved, orders.db, not_caught_up) is Skipped.BEHIND
    assert await orders.rows("select since from checkouts") == before


def _part(order_id: UUID) -> int:
    return partition_of(str(order_id).encode(), PARTITIONS)


async def test_a_shard_that_stands_still_delays_no_other(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcilers, "MOST", 1)
    stuck = await orders.placed(new_id())
    moving = await orders.placed(new_id())
    while _part(moving.order_id) == _part(stuck.order_id):
        moving = await orders.placed(new_id())
    await orders.as_admin(f"{PUBLISHED} where part = $1", _part(moving.order_id))
    await age(orders, 300)
    for _ in await orders.rows("select from checkouts"):
        await run(orders, reconcilers.cancel_unreserved)
    await age(orders, 121)
    assert await run(orders, reconcilers.cancel_unreserved) == 1
    assert (await orders.read(moving.order_id)).stage == "cancelled"
    assert (await orders.read(stuck.order_id)).stage == "reserving"


async def test_a_checkout_from_a_dump_counts_from_when_the_cursors_are_of_this_server_again(
    orders: Orders,
) -> None:
    await orders.placed(new_id())
    await orders.as_admin("update checkouts set placed_xid = '900000000000'")
    await orders.as_admin("update outbox_shard set snap = '800000000000:800000000000:'")
    await age(orders, 300)
    await run(orders, reconcilers.cancel_unreserved)
    await age(orders, 300)
    assert await run(orders, reconcilers.cancel_unreserved) == 0, "it was not published over there"
    await orders.as_admin(PUBLISHED)
    await run(orders, reconcilers.cancel_unreserved)
    await age(orders, 121)
    assert await run(orders, reconcilers.cancel_unreserved) == 1


async def test_a_paid_checkout_is_not_cancelled_for_want_of_stock_news(orders: Orders) -> None:
    placed = await orders.placed(new_id())
    await orders.hear(making.verified(placed.order_id))
    await orders.as_admin(PUBLISHED)
    await age(orders, 300)
    await run(orders, reconcilers.cancel_unreserved)
    await age(orders, 300)
    assert await run(orders, reconcilers.cancel_unreserved) == 0


@pytest.mark.parametrize("returned", [False, True])
async def test_an_unpaid_checkout_expires_at_its_hard_limit_and_not_before(
    orders: Orders,
    returned: bool,  # noqa: FBT001
) -> None:
    waiting = await orders.awaiting_payment(new_id())
    if returned:
        await orders.hear(making.came_back(waiting.order_id, 2))
    await age(orders, 900 + 8_100 - 60)
    assert await run(orders, reconcilers.expire_unpaid) == 0
    await age(orders, 61)
    assert await run(orders, reconcilers.expire_unpaid) == 1
    assert (await orders.read(waiting.order_id)).stage == "expired"
    assert (await orders.rows("select sum(quantity)::int as n from cart_lines"))[0]["n"] == 2
    assert await run(orders, reconcilers.expire_unpaid) == 0


async def test_coming_back_from_the_gateway_does_not_start_the_limit_anew(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    [before] = await orders.rows("select since from checkouts")
    await orders.hear(making.came_back(waiting.order_id, 2))
    await orders.hear(making.declined(waiting.order_id, 3))
    assert await orders.rows("select since from checkouts") == [before]


async def test_an_unpaid_checkout_waits_until_all_payment_events_are_read(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    await age(orders, 10_000)
    asked: list[object] = []

    async def not_caught_up(topics: object) -> bool:
        asked.append(topics)
        return False

    assert await run_once(reconcilers.expire_unpaid, orders.db, not_caught_up) is None
    assert "payment.verified" in reconcilers.expire_unpaid.once_read
    assert asked == [reconcilers.expire_unpaid.once_read]
    assert (await orders.read(waiting.order_id)).stage == "awaiting_payment"


async def test_the_broker_is_asked_only_when_something_is_due(orders: Orders) -> None:
    await orders.awaiting_payment(new_id())
    asked: list[object] = []

    async def caught_up(topics: object) -> bool:
        asked.append(topics)
        return True

    [expire] = [one for one in timed(Limits(), look_every_s=10) if one.name == "expire_unpaid"]
    await age(orders, 900 + 8_100 - 60)
    assert await run_once(expire, orders.db, caught_up) == 0
    assert asked == []
    assert await orders.rows("select from reconciler_runs where last_success_at is not null")
    await age(orders, 61)
    assert await run_once(expire, orders.db, caught_up) == 1
    assert len(asked) == 1


async def test_a_long_review_gives_the_stock_back_and_stays_open(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    await orders.hear(making.held(waiting.order_id, new_id()))
    await age(orders, 7_201)
    assert await run(orders, reconcilers.release_long_reviews) == 1
    after = await orders.read(waiting.order_id)
    assert (after.stage, after.hold) == ("on_hold", "none")
    assert (await orders.told(waiting.order_id))[-1] == "order.expired"
    assert await run(orders, reconcilers.release_long_reviews) == 0


async def test_a_paid_checkout_without_an_order_is_refunded_after_two_hours(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    await orders.hear(making.failed(waiting.order_id, 5))
    await orders.hear(making.verified(waiting.order_id, 6, waiting.total_paisa or 0))
    await age(orders, 7_201)
    assert await run(orders, reconcilers.refund_unprocessed) == 1
    assert (await orders.read(waiting.order_id)).stage == "refund_pending"


async def test_an_unconfirmed_phone_gives_the_stock_back(orders: Orders) -> None:
    await orders.put(user := new_id(), kurta=1)
    [placed] = (await orders.place(user, method="cod")).changed.values()
    await orders.hear(making.reserved(placed))
    await age(orders, 1_801)
    assert await run(orders, reconcilers.expire_unconfirmed_phones) == 1
    assert (await orders.read(placed.order_id)).stage == "expired"


async def test_cart_lines_expire_after_thirty_days(orders: Orders) -> None:
    await orders.put(new_id(), kurta=1)
    [line] = await orders.rows("select expires_at - now() as left_for from cart_lines")
    assert 29 <= line["left_for"].days <= 30
    assert await run(orders, reconcilers.expire_cart_lines) == 0
    await orders.as_admin("update cart_lines set expires_at = now()")
    assert await run(orders, reconcilers.expire_cart_lines) == 1


async def test_a_missed_roll_up_is_repaired_once(orders: Orders) -> None:
    confirmed = await orders.confirmed(new_id(), kurta=1)
    assert await run(orders, reconcilers.repair_rollups) == 0
    await orders.as_admin("update order_items set status = 'delivered', delivered_at = now()")
    assert await run(orders, reconcilers.repair_rollups) == 1
    assert await run(orders, reconcilers.repair_rollups) == 0
    assert (await orders.told(confirmed.order_id)).count("order.delivered") == 1


async def test_limits_come_from_the_settings(orders: Orders) -> None:
    await orders.awaiting_payment(new_id())
    await age(orders, 910)
    named = {one.name: one for one in timed(Limits(payment_grace_s=5), look_every_s=0.5)}
    assert named["expire_unpaid"].every_s == 0.5
    assert await run(orders, reconcilers.expire_unpaid) == 0
    assert await run(orders, named["expire_unpaid"]) == 1


async def test_a_busy_checkout_is_left_for_the_next_round(orders: Orders) -> None:
    await orders.awaiting_payment(new_id())
    await age(orders, 10_000)
    async with orders.db.transaction() as tx:
        await tx.execute("select from checkouts for update")
        assert await run(orders, reconcilers.expire_unpaid) == 0
    assert await run(orders, reconcilers.expire_unpaid) == 1
