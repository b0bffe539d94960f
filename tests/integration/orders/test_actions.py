"""The actions on a real database: twice changes nothing, a batch is a few statements, a cart goes once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast
from uuid import UUID

import pytest

from services.chassis.db import Tx
from services.chassis.ids import new_id
from services.orders.actions.checkout import accept_reservations, place_checkouts
from services.orders.actions.payments import accept_payments
from services.orders.domain import Checkout, Line, ReturnLines
from services.orders.store.carts import return_lines
from services.orders.store.checkouts import INSERT_CHECKOUTS
from tests.integration.orders.world import Orders, a_command
from tests.unit.orders import making

EVERYTHING = """
    select
        (select jsonb_agg(to_jsonb(t) order by t.order_id) from checkouts t) as checkouts,
        (select jsonb_agg(to_jsonb(t) order by t.order_id) from orders t) as orders,
        (select jsonb_agg(to_jsonb(t) order by t.id) from order_items t) as items,
        (select jsonb_agg(to_jsonb(t) order by t.user_id, t.sku) from cart_lines t) as carts,
        (select count(*) from checkout_history) as checkout_history,
        (select count(*) from order_history) as order_history,
        (select count(*) from item_history) as item_history,
        (select count(*) from outbox) as told
"""


async def everything(orders: Orders) -> dict[str, Any]:
    return dict((await orders.rows(EVERYTHING))[0])


def events_after(checkout: Checkout) -> dict[str, Any]:
    """One event of each kind for a checkout that awaits its payment."""
    key, total = checkout.order_id, checkout.total_paisa or 0
    return {
        "stock.reserved": making.reserved(checkout),
        "payment.opened": making.opened(key, 11),
        "payment.returned": making.came_back(key, 12),
        "payment.declined": making.declined(key, 13),
        "payment.failed": making.failed(key, 14),
        "payment.verified": making.verified(key, 15, total),
        "payment.held": making.held(key, UUID(int=7), sequence=16),
        "payment.refunded": making.refunded(key, 17),
    }


@pytest.mark.parametrize("topic", events_after(making.a_checkout()))
async def test_an_event_heard_twice_changes_nothing_the_second_time(orders: Orders, topic: str) -> None:
    waiting = await orders.awaiting_payment(new_id(), kurta=2, topi=1)
    event = events_after(waiting)[topic]
    await orders.hear(event)
    once = await everything(orders)
    await orders.hear(event)
    assert await everything(orders) == once


async def test_a_rejection_ends_the_checkout_and_returns_its_lines_once(orders: Orders) -> None:
    user = new_id()
    placed = await orders.placed(user, kurta=2)
    for _ in range(2):
        await orders.hear(making.rejected(placed))
    after = await orders.read(placed.order_id)
    assert (after.stage, after.refusals) == ("rejected", (("kurta", "OUT_OF_STOCK"),))
    [line] = await orders.rows("select * from cart_lines")
    assert (line["sku"], line["quantity"], line["returned_from"]) == ("kurta", 2, placed.order_id)


async def test_a_second_checkout_waits_for_the_first_and_then_finds_an_empty_cart(orders: Orders) -> None:
    user = new_id()
    await orders.put(user, kurta=2, topi=1)
    results = await asyncio.gather(*(orders.place(user) for _ in range(8)))
    placed = [one for result in results for one in result.changed.values()]
    assert len(placed) == 1
    refused = [getattr(one.outcomes[0], "code", None) for one in results]
    assert sorted(refused, key=str) == ["CART_EMPTY"] * 7 + [None]


async def test_of_two_checkouts_of_one_cart_in_one_batch_the_first_gets_it(orders: Orders) -> None:
    user = new_id()
    await orders.put(user, kurta=2)
    verdicts = await orders.place(user, user)
    assert [getattr(one, "code", "placed") for one in verdicts.outcomes] == ["placed", "CART_EMPTY"]


async def test_a_line_put_while_the_cart_is_checked_out_stays_in_the_cart(orders: Orders) -> None:
    user = new_id()
    await orders.put(user, kurta=2)
    async with orders.db.transaction() as tx:
        await place_checkouts(tx, [a_command(user)])
        await orders.put(user, topi=1)
    assert [row["sku"] for row in await orders.rows("select sku from cart_lines")] == ["topi"]


class Interrupted:
    """A transaction in the middle of which, before its second statement, something else is committed."""

    def __init__(self, tx: Tx, happen: Callable[[], Awaitable[None]]) -> None:
        self.tx = tx
        self.happen = happen

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.tx, name)

    async def execute(self, statement: str, *arguments: object) -> None:
        if statement is INSERT_CHECKOUTS:
            await self.happen()
        await self.tx.execute(statement, *arguments)


async def test_a_line_that_returns_in_the_middle_of_a_checkout_stays_in_the_cart(orders: Orders) -> None:
    user, ended = new_id(), new_id()
    await orders.put(user, kurta=2)

    async def return_a_line() -> None:
        back = ReturnLines(ended, user, (Line(new_id(), "kurta", 3),))
        async with orders.db.transaction() as other:
            await return_lines(other, [back])

    async with orders.db.transaction() as tx:
        await place_checkouts(cast("Tx", Interrupted(tx, return_a_line)), [a_command(user)])
    [line] = await orders.rows("select * from cart_lines")
    assert (line["returned_from"], line["quantity"]) == (ended, 3)


async def test_a_refused_checkout_leaves_the_cart_as_it_was(orders: Orders) -> None:
    user = new_id()
    await orders.put(user, kurta=50)
    await orders.as_admin(
        "insert into cart_lines (user_id, sku, returned_from, quantity) values ($1, 'kurta', $2, 1)",
        user,
        new_id(),
    )
    [outcome] = (await orders.place(user)).outcomes
    assert getattr(outcome, "code", None) == "QUANTITY_LIMIT"
    assert (await orders.rows("select sum(quantity)::int as n from cart_lines"))[0]["n"] == 51


async def test_fifty_one_lines_are_refused(orders: Orders) -> None:
    user = new_id()
    await orders.as_admin(
        "insert into cart_lines (user_id, sku, quantity) "
        "select $1, 'sku-' || n, 1 from generate_series(1, 101) as n",
        user,
    )
    [outcome] = (await orders.place(user)).outcomes
    assert getattr(outcome, "code", None) == "CART_FULL"


async def test_late_money_takes_back_exactly_the_lines_that_had_returned(orders: Orders) -> None:
    user = new_id()
    waiting = await orders.awaiting_payment(user, kurta=2)
    await orders.hear(making.failed(waiting.order_id, 5))
    await orders.put(user, topi=1)
    assert len(await orders.rows("select from cart_lines")) == 2

    await orders.hear(making.verified(waiting.order_id, 6, waiting.total_paisa or 0))
    revived = await orders.read(waiting.order_id)
    assert (revived.stage, revived.hold_no) == ("processing", 2)
    await orders.hear(making.reserved(revived))
    assert (await orders.read(waiting.order_id)).stage == "confirmed"
    assert [row["sku"] for row in await orders.rows("select sku from cart_lines")] == ["topi"]
    assert await orders.told(waiting.order_id) == [
        "order.placed",
        "order.state",
        "order.expired",
        "order.state",
        "order.revived",
        "order.state",
        "order.finalized",
        "order.state",
    ]


async def test_ce_sequence_counts_every_event_of_an_order_without_a_gap(orders: Orders) -> None:
    confirmed = await orders.confirmed(new_id(), kurta=1)
    rows = await orders.rows("select key_seq from outbox order by key_seq")
    assert [row["key_seq"] for row in rows] == [1, 2, 3, 4]
    [order] = await orders.rows("select seq, version from orders")
    assert order["seq"] == 4
    assert order["version"] == confirmed.version


async def test_histories_are_walks_without_gaps(orders: Orders) -> None:
    confirmed = await orders.confirmed(new_id(), kurta=1, topi=1)
    rows = await orders.rows("select seq, old_stage, new_stage, actor_type, reason from checkout_history")
    assert [tuple(row) for row in rows] == [
        (1, None, "reserving", "customer", "placed"),
        (2, "reserving", "awaiting_payment", "system", "reserved"),
        (3, "awaiting_payment", "confirmed", "system", "verified"),
    ]
    assert confirmed.version == 3
    assert len(await orders.rows("select from order_history where seq = 1")) == 1
    assert len(await orders.rows("select from item_history where seq = 1")) == 2
    caused = await orders.rows("select cause from checkout_history where seq > 1")
    assert all(row["cause"] is not None for row in caused)


async def test_a_reversal_blocks_the_order_and_lets_it_go_again(orders: Orders) -> None:
    confirmed = await orders.confirmed(new_id(), kurta=1)
    case = new_id()
    for is_open in (True, False):
        await orders.hear(making.held(confirmed.order_id, case, reason="reversed", is_open=is_open))
        [order] = await orders.rows("select blocked from orders")
        assert order["blocked"] is is_open


async def test_an_order_number_is_drawn_per_order_and_never_twice(orders: Orders) -> None:
    for _ in range(3):
        await orders.confirmed(new_id(), kurta=1)
    rows = await orders.rows("select order_number from orders order by order_number")
    numbers = [row["order_number"] for row in rows]
    assert len(set(numbers)) == 3
    assert all(number.startswith("ORD-2") for number in numbers)


class Counting:
    """A transaction that counts its statements."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.count = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        found = getattr(self.tx, name)
        if name in {"fetch", "fetchrow", "fetchval", "execute"}:
            self.count += 1
        return found


async def test_a_batch_of_two_hundred_costs_a_handful_of_statements_a_hop(orders: Orders) -> None:
    users = [new_id() for _ in range(200)]
    await orders.as_admin(
        "insert into cart_lines (user_id, sku, quantity) "
        "select u, sku, 1 from unnest($1::uuid[]) as u cross join (values ('kurta'), ('topi')) as of(sku)",
        users,
    )
    counts = []

    async def hop(act: Any, causes: Any) -> Any:  # noqa: ANN401
        async with orders.db.transaction() as tx:
            counting = Counting(tx)
            verdicts = await act(counting, causes)
            counts.append(counting.count)
        return verdicts

    placed = await hop(place_checkouts, [a_command(user) for user in users])
    assert len(placed.changed) == 200
    await hop(accept_reservations, [making.reserved(one) for one in placed.changed.values()])
    paid = [making.verified(one, 5, 200_00) for one in placed.changed]
    await hop(accept_payments, paid)
    assert counts == [3, 3, 4]
    assert (await orders.rows("select count(*) as n from orders"))[0]["n"] == 200
