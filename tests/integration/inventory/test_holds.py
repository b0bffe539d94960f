"""The story of a hold in a real database: promised, sold, given back, returned; by many at once."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from contracts.event import Event
from contracts.orders import OrderPlaced
from services.chassis.db import Database
from services.chassis.decisions import Never, Unchanged
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.examples import (
    cancelled,
    expired,
    finalized,
    item_cancelled,
    placed,
    revived,
    shipped,
    wanted_lines,
)

ITEM = UUID(int=8)


async def test_a_placed_order_is_held_and_a_finalized_one_is_sold(shop: Shop) -> None:
    await shop.fill(a=5, b=5)
    order = uuid4()

    await shop.hear(placed(order, a=2, b=1))
    assert await shop.units("a") == (5, 2)
    assert await shop.told(order) == [("stock.reserved", 1)]

    await shop.hear(finalized(order, a=2, b=1))
    assert await shop.units("a") == (3, 0)
    sold = await shop.rows("select sku, delta from stock_movements where kind = 'sold' order by sku")
    assert sold == [("a", -2), ("b", -1)]
    assert await shop.broken_promises() == []


async def test_one_missing_line_holds_nothing(shop: Shop) -> None:
    await shop.fill(a=5, b=0)
    order = uuid4()

    await shop.hear(placed(order, a=2, b=1))

    assert await shop.units("a") == (5, 0)
    assert await shop.told(order) == [("stock.rejected", 1)]
    assert await shop.broken_promises() == []


async def test_the_numbers_of_told_events_go_on_over_all_holds_of_an_order(shop: Shop) -> None:
    await shop.fill(a=1)
    order = uuid4()

    for event in (placed(order), expired(order), revived(order, 2), revived(order, 3)):
        await shop.hear(event)

    assert await shop.told(order) == [
        ("stock.reserved", 1),
        ("stock.released", 2),
        ("stock.reserved", 3),
        ("stock.released", 4),
        ("stock.reserved", 5),
    ]
    assert await shop.broken_promises() == []


async def test_a_revived_order_keeps_the_price_it_had(shop: Shop) -> None:
    await shop.fill(a=1)
    order = uuid4()
    await shop.hear(placed(order))
    await shop.rows("update variants set price_paisa = 9999 returning 1")
    await shop.rows("update vendors set delivery_charge_paisa = 9999 returning 1")

    await shop.hear(revived(order))

    told = await shop.rows(
        "select distinct price_paisa, delivery_paisa from hold_lines where order_id = $1", order
    )
    assert told == [(1000, 150)]


async def test_an_end_that_comes_first_is_remembered(shop: Shop) -> None:
    await shop.fill(a=1)
    late, gone = uuid4(), uuid4()

    await shop.hear(expired(late))
    await shop.hear(cancelled(gone))
    verdicts = await shop.hear(placed(late), placed(gone))

    assert verdicts.outcomes == (Unchanged(), Unchanged())
    assert await shop.units() == (1, 0)
    assert await shop.told(late) == await shop.told(gone) == []


async def test_a_finalized_order_nobody_holds_for_is_an_alarm_and_changes_nothing(shop: Shop) -> None:
    await shop.fill(a=1)
    verdicts = await shop.hear(finalized(uuid4(), a=1))
    assert isinstance(verdicts.outcomes[0], Never)
    assert await shop.rows("select 1 from hold_orders") == []


def _story(order: UUID) -> list[Event]:
    return [
        placed(order, a=2, b=1),
        expired(order),
        revived(order, 2, a=2, b=1),
        finalized(order, 2),
        shipped(order),
        item_cancelled(order, ITEM, quantity=2),
        cancelled(order, finalized=True),
    ]


async def test_every_event_twice_changes_what_it_changed_once(shop: Shop) -> None:
    await shop.fill(a=5, b=5)
    order = uuid4()
    for event in _story(order):
        await shop.hear(event)
        once = await _everything(shop)
        again = await shop.hear(event)
        assert again.outcomes == (Unchanged(),), event
        assert await _everything(shop) == once, event
    assert await shop.units("a") == (5, 0)
    assert await shop.units("b") == (4, 0)
    assert await shop.broken_promises() == []


async def _everything(shop: Shop) -> list[list[tuple[object, ...]]]:
    return [
        await shop.rows(query)
        for query in (
            "select sku, on_hand, reserved, version from stock order by sku",
            "select order_id, seq, closes_all from hold_orders order by order_id",
            "select order_id, hold_no, status, closed_at from holds order by order_id, hold_no",
            "select count(*) from hold_lines",
            "select sku, kind, delta, order_id, order_item_id from stock_movements order by id",
        )
    ]


async def test_sixty_rivals_for_ten_units_get_exactly_ten(shop: Shop) -> None:
    await shop.fill(a=10)
    rivals = [uuid4() for _ in range(60)]

    await asyncio.gather(*(shop.hear(placed(order)) for order in rivals))

    assert await shop.units() == (10, 10)
    assert len(await shop.rows("select 1 from holds where status = 'held'")) == 10
    assert len(await shop.rows("select 1 from holds where status = 'refused'")) == 50
    assert await shop.broken_promises() == []


async def test_within_a_batch_who_came_first_gets_the_units(shop: Shop) -> None:
    await shop.fill(a=10)
    # Ids grow against the order of arrival, so that locking by id cannot be what decides.
    rivals = [UUID(int=number) for number in range(60, 0, -1)]

    await shop.hear(*(placed(order) for order in rivals))

    held = {order for (order,) in await shop.rows("select order_id from holds where status = 'held'")}
    assert held == set(rivals[:10])


SKUS = [f"sku{number}" for number in range(12)]


def _carts(seed: int, orders: int) -> list[OrderPlaced]:
    chance = random.Random(seed)
    return [
        placed(
            UUID(int=chance.getrandbits(128)),
            *wanted_lines(**{sku: chance.randint(1, 3) for sku in chance.sample(SKUS, 4)}),
        )
        for _ in range(orders)
    ]


async def test_batches_with_the_same_skus_at_once_neither_deadlock_nor_oversell(shop: Shop) -> None:
    await shop.fill(**dict.fromkeys(SKUS, 60))
    batches = [_carts(seed, orders=25) for seed in range(12)]

    # A deadlock or a CHECK that had to step in would be raised here.
    await asyncio.gather(*(shop.hear(*batch) for batch in batches))
    assert await shop.broken_promises() == []
    held = {order for (order,) in await shop.rows("select order_id from holds where status = 'held'")}
    assert 0 < len(held) < 300, "some are refused, so the stock was contested"

    winners = [[event.order_id for event in batch if event.order_id in held] for batch in batches]
    ends: list[Sequence[Event]] = [
        [finalized(order) for order in orders] if turn % 2 else [expired(order) for order in orders]
        for turn, orders in enumerate(winners)
    ]
    again = [_carts(seed, orders=25) for seed in range(100, 106)]
    await asyncio.gather(*(shop.hear(*batch) for batch in [*ends, *again] if batch))
    assert await shop.broken_promises() == []


async def test_two_topics_of_the_same_orders_at_once_end_in_one_story(shop: Shop) -> None:
    await shop.fill(a=1000)
    orders = [uuid4() for _ in range(40)]
    shuffled = sorted(orders, key=lambda order: order.hex[::-1])

    await asyncio.gather(
        shop.hear(*(placed(order) for order in orders)),
        shop.hear(*(cancelled(order) for order in shuffled)),
        shop.hear(*(expired(order) for order in reversed(orders))),
    )

    assert await shop.units() == (1000, 0)
    assert await shop.broken_promises() == []


async def test_orders_in_any_order_of_arrival_are_locked_in_the_order_of_their_ids(shop: Shop) -> None:
    """Two batches get one end each and wait for the middle: in arrival order they would then deadlock."""
    await shop.fill(a=10)
    low, middle, high = (UUID(int=number) for number in (1, 2, 3))

    async with shop.db.transaction() as tx:
        await tx.execute("insert into hold_orders (order_id) values ($1)", middle)
        upwards = asyncio.create_task(shop.hear(*(placed(order) for order in (low, middle, high))))
        downwards = asyncio.create_task(shop.hear(*(cancelled(order) for order in (high, middle, low))))
        await shop.until_waiting(2)
    await asyncio.gather(upwards, downwards)

    assert await shop.units() == (10, 0)
    assert await shop.broken_promises() == []


async def test_a_sale_waits_for_the_transaction_that_holds_the_order_and_sees_what_it_wrote(
    shop: Shop,
) -> None:
    await shop.fill(a=5)
    order = uuid4()
    await shop.hear(placed(order))

    async with shop.db.transaction() as tx:
        await tx.fetch("select 1 from hold_orders where order_id = $1 for update", order)
        sale = asyncio.create_task(shop.hear(finalized(order)))
        await shop.until_waiting(1)
        await tx.execute("update holds set status = 'consumed', closed_at = now()")
        await tx.execute("update stock set reserved = 0, on_hand = 4")

    assert (await sale).outcomes == (Unchanged(),)
    assert await shop.units() == (4, 0)


@pytest.mark.parametrize("size", [1, 500])
async def test_a_batch_costs_a_fixed_number_of_statements(shop: Shop, size: int) -> None:
    await shop.fill(a=1000, b=1000)
    orders = [uuid4() for _ in range(size)]

    reserve = await shop.statements_of(*(placed(order, a=1, b=1) for order in orders))
    sell = await shop.statements_of(*(finalized(order) for order in orders))

    assert (reserve, sell) == (5, 5)


async def test_the_same_database_from_a_pool_of_its_own_sees_the_same_stock(shop: Shop) -> None:
    """Nothing about holds is kept in the process."""
    await shop.fill(a=1)
    order = uuid4()
    await shop.hear(placed(order))
    other = Shop(Database(shop.db.dsn, name="other", size=2), shop.admin_dsn)
    try:
        await other.hear(finalized(order))
    finally:
        await other.db.close()
    assert await shop.units() == (0, 0)
