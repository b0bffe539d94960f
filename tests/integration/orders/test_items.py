"""Items move, the order follows: over HTTP, through the roll-up, by many at once."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from contracts.orders import ItemCancelled, ItemFulfilled, ItemStep
from services.chassis.ids import new_id
from services.orders.actions import items as actions
from services.orders.domain import Actor, Checkout, ItemStatus, MoveItem
from services.orders.store.orders import lock_orders
from tests.integration.orders.front import Front, Person
from tests.integration.orders.world import Orders
from tests.support.waiting import until
from tests.unit.orders import making

ITEM_EVENTS: dict[str, type[ItemStep]] = {"item.cancelled": ItemCancelled, "item.fulfilled": ItemFulfilled}


async def an_order_of(orders: Orders, *vendors: UUID, user: UUID | None = None) -> Checkout:
    """A confirmed order with one item of each vendor."""
    placed = await orders.placed(user or new_id(), **{f"sku{n}": 1 for n in range(len(vendors))})
    reserved = making.reserved(placed)
    lines = tuple(
        line.model_copy(update={"vendor_id": vendor})
        for line, vendor in zip(reserved.lines, vendors, strict=True)
    )
    await orders.hear(making.reserved(placed, lines=lines))
    total = sum(line.price_paisa for line in lines)
    await orders.hear(making.verified(placed.order_id, 5, total))
    return await orders.read(placed.order_id)


async def roll_up_all(orders: Orders) -> None:
    """Hand every item event in the outbox to the roll-up, as the consumer would."""
    for topic, event in ITEM_EVENTS.items():
        rows = await orders.rows("select payload, event_id from outbox where topic = $1", topic)
        if rows:
            await orders.hear(*(event.model_validate_json(row["payload"]) for row in rows))


async def move(orders: Orders, order_id: UUID, *steps: tuple[UUID, ItemStatus]) -> None:
    for item_id, status in steps:
        command = MoveItem(order_id, item_id, status, Actor("admin", new_id()), "because")
        async with orders.db.transaction() as tx:
            await actions.move_items(tx, [command])


async def delivers(vendor: Person) -> None:
    """The vendor's one item, all the way."""
    [item] = (await vendor.gets("/v1/vendor/items"))["data"]
    for status in ("processing", "shipped", "delivered"):
        answer = await vendor.moves(item, status)
        assert answer.status_code == 200, answer.text
        item = answer.json()


async def test_an_order_is_delivered_when_the_last_open_item_is(orders: Orders) -> None:
    order = await an_order_of(orders, making.SONA, making.RAJU)
    first, second = (line.id for line in order.lines)
    walk = (ItemStatus.PROCESSING, ItemStatus.SHIPPED, ItemStatus.DELIVERED)
    await move(orders, order.order_id, *((first, status) for status in walk))
    await roll_up_all(orders)
    assert (await orders.rows("select status from orders"))[0]["status"] == "confirmed"

    await move(orders, order.order_id, (second, ItemStatus.CANCELLED))
    await roll_up_all(orders)
    [row] = await orders.rows("select * from orders")
    assert row["status"] == "delivered"
    [item] = await orders.rows("select delivered_at from order_items where id = $1", first)
    assert row["delivered_at"] == item["delivered_at"]
    assert (await orders.told(order.order_id)).count("order.delivered") == 1
    [last] = await orders.rows("select * from order_history where seq = 2")
    assert (last["old_status"], last["new_status"], last["reason"]) == (
        "confirmed",
        "delivered",
        "item.cancelled",
    )
    await roll_up_all(orders)
    assert (await orders.told(order.order_id)).count("order.delivered") == 1


async def test_an_order_with_all_items_cancelled_is_cancelled_as_a_bare_fact(orders: Orders) -> None:
    order = await an_order_of(orders, making.SONA, making.RAJU)
    await move(orders, order.order_id, *((line.id, ItemStatus.CANCELLED) for line in order.lines))
    await roll_up_all(orders)
    [row] = await orders.rows("select status, delivered_at from orders")
    assert tuple(row) == ("cancelled", None)
    [told] = await orders.rows("select payload from outbox where topic = 'order.cancelled'")
    assert b'"finalized":true' in told["payload"]


async def test_a_move_and_its_event_are_one_transaction(orders: Orders) -> None:
    order = await an_order_of(orders, making.SONA)
    command = MoveItem(
        order.order_id, order.lines[0].id, ItemStatus.CANCELLED, Actor("admin", new_id()), "no"
    )

    async def move_and_fail() -> None:
        async with orders.db.transaction() as tx:
            await actions.move_items(tx, [command])
            await tx.execute("select 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await move_and_fail()
    assert (await orders.rows("select status from order_items"))[0]["status"] == "pending"
    assert "item.cancelled" not in await orders.told(order.order_id)


async def test_twenty_vendors_deliver_one_order_at_once(orders: Orders, front: Front) -> None:
    vendors = [new_id() for _ in range(20)]
    order = await an_order_of(orders, *vendors)
    await asyncio.gather(*(delivers(front.vendor(vendor)) for vendor in vendors))
    await roll_up_all(orders)
    [row] = await orders.rows("select status from orders")
    assert row["status"] == "delivered"
    told = await orders.told(order.order_id)
    assert told.count("item.fulfilled") == 20
    rows = await orders.rows("select key_seq from outbox order by key_seq")
    assert [one["key_seq"] for one in rows] == list(range(1, len(rows) + 1))


async def test_rollups_and_moves_at_once_leave_no_order_behind(orders: Orders) -> None:
    vendors = [new_id() for _ in range(8)]
    order = await an_order_of(orders, *vendors)

    async def deliver(item_id: UUID) -> None:
        for status in (ItemStatus.PROCESSING, ItemStatus.SHIPPED, ItemStatus.DELIVERED):
            await move(orders, order.order_id, (item_id, status))
        await roll_up_all(orders)

    await asyncio.gather(*(deliver(line.id) for line in order.lines))
    assert (await orders.rows("select status from orders"))[0]["status"] == "delivered"
    assert (await orders.told(order.order_id)).count("order.delivered") == 1


WAITS = """
    select from pg_locks join pg_stat_activity using (pid)
    where not granted and datname = current_database()
"""


async def test_items_are_read_after_the_lock(orders: Orders) -> None:
    """A transaction that waited for the order's lock sees what the one before it committed."""
    order = await an_order_of(orders, making.SONA)
    command = MoveItem(order.order_id, order.lines[0].id, ItemStatus.PROCESSING, Actor("admin", new_id()))

    async def reader() -> Any:  # noqa: ANN401
        async with orders.db.transaction() as tx:
            return await lock_orders(tx, [order.order_id])

    async def waits() -> bool:
        return waiting.done() or bool(await orders.rows(WAITS))

    async with orders.db.transaction() as tx:
        await actions.move_items(tx, [command])
        waiting = asyncio.create_task(reader())
        await until(waits, what="the second to wait for the first")
        assert not waiting.done()
    assert (await waiting)[order.order_id].items[0].status is ItemStatus.PROCESSING


async def test_a_vendor_sees_and_moves_only_its_own_items(orders: Orders, front: Front) -> None:
    await an_order_of(orders, making.SONA, making.RAJU)
    sona, raju = front.vendor(making.SONA), front.vendor(making.RAJU)
    [item] = (await sona.gets("/v1/vendor/items?status=pending"))["data"]
    assert (item["allowed_actions"], item["suggested_action"]) == (["processing", "cancelled"], "processing")
    assert (await sona.gets("/v1/vendor/items?status=shipped"))["data"] == []
    assert (await raju.moves(item, "processing")).status_code == 404
    moved = await sona.moves(item, "processing")
    assert (moved.status_code, moved.json()["status"], moved.headers["etag"]) == (200, "processing", '"2"')


async def test_the_same_move_again_is_replayed_and_a_stale_one_refused(orders: Orders, front: Front) -> None:
    await an_order_of(orders, making.SONA)
    sona = front.vendor(making.SONA)
    [item] = (await sona.gets("/v1/vendor/items"))["data"]
    path, body = f"/v1/vendor/items/{item['id']}/status", {"new_status": "processing"}
    first = await sona.ask("POST", path, body, key="one", version=1)
    again = await sona.ask("POST", path, body, key="one", version=1)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    stale = await sona.ask("POST", path, {"new_status": "shipped"}, version=1)
    assert (stale.status_code, stale.json()["code"]) == (412, "STALE")
    assert (await sona.ask("POST", path, body)).status_code == 428
    refused = await sona.ask("POST", path, {"new_status": "delivered"}, version=2)
    assert (refused.status_code, refused.json()["code"]) == (409, "INVALID_TRANSITION")
    assert (await sona.ask("POST", path, {"new_status": "pending"}, version=2)).status_code == 422
    silent = await sona.ask("POST", path, {"new_status": "cancelled"}, version=2)
    assert (silent.status_code, silent.json()["errors"][0]["pointer"]) == (422, "/reason")


async def test_a_customer_cancels_a_pending_item_and_nothing_later(orders: Orders, front: Front) -> None:
    buyer = front.customer()
    order = await an_order_of(orders, making.SONA, making.RAJU, user=buyer.id)
    first, second = (line.id for line in order.lines)
    path = f"/v1/orders/{order.order_id}/items/{first}/cancel"
    answer = await buyer.ask("POST", path, {"reason": "too late for Dashain"}, version=1)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    await move(orders, order.order_id, (second, ItemStatus.PROCESSING))
    refused = await buyer.ask(
        "POST", f"/v1/orders/{order.order_id}/items/{second}/cancel", {"reason": "x"}, version=2
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "INVALID_TRANSITION")
    stranger = front.customer()
    assert (await stranger.ask("POST", path, {"reason": "x"}, version=2)).status_code == 404


async def test_an_order_shows_its_items_and_may_be_reviewed_once_delivered(
    orders: Orders, front: Front
) -> None:
    buyer = front.customer()
    order = await an_order_of(orders, making.SONA, user=buyer.id)
    shown = await buyer.gets(f"/v1/orders/{order.order_id}")
    assert (shown["status"], shown["review_eligible"]) == ("confirmed", False)
    assert shown["items"][0]["allowed_actions"] == ["cancelled"]
    await delivers(front.vendor(making.SONA))
    await roll_up_all(orders)
    shown = await buyer.gets(f"/v1/orders/{order.order_id}")
    assert (shown["status"], shown["review_eligible"]) == ("delivered", True)
    assert (await front.customer().ask("GET", f"/v1/orders/{order.order_id}")).status_code == 404


async def test_my_orders_are_paged_newest_first_with_what_is_being_processed(
    orders: Orders, front: Front
) -> None:
    buyer = front.customer()
    await orders.confirmed(buyer.id, kurta=1)
    await orders.awaiting_payment(buyer.id, kurta=1)
    cancelled = await buyer.checks_out(kurta=1)
    await buyer.ask("POST", f"/v1/checkouts/{cancelled['id']}/cancel")
    first = await buyer.gets("/v1/orders?limit=1")
    assert [(one["stage"], one["status"]) for one in first["data"]] == [("awaiting_payment", None)]
    assert first["has_more"]
    second = await buyer.gets(f"/v1/orders?limit=1&after={first['next']}")
    assert [(one["stage"], one["status"]) for one in second["data"]] == [("confirmed", "confirmed")]
    assert (second["has_more"], second["next"]) == (False, None)

    foreign = await front.customer().ask("GET", f"/v1/orders?after={first['next']}")
    assert (foreign.status_code, foreign.json()["code"]) == (422, "INVALID_CURSOR")
    for wrong in ("limit=0", "limit=51", "limit=abc", "after=x", "after=%00"):
        assert (await buyer.ask("GET", f"/v1/orders?{wrong}")).status_code == 422


async def test_staff_find_orders_by_customer_stage_and_status(orders: Orders, front: Front) -> None:
    buyer = new_id()
    confirmed = await orders.confirmed(buyer, kurta=1)
    waiting = await orders.awaiting_payment(buyer, kurta=1)
    await orders.confirmed(new_id(), kurta=1)
    admin = front.person("admin")

    async def found(query: str) -> list[str]:
        return [one["id"] for one in (await admin.gets(f"/v1/admin/orders?{query}"))["data"]]

    assert await found(f"customer_id={buyer}") == [str(waiting.order_id), str(confirmed.order_id)]
    assert await found(f"customer_id={buyer}&stage=confirmed") == [str(confirmed.order_id)]
    assert len(await found("status=confirmed")) == 2
    assert (await front.customer().ask("GET", "/v1/admin/orders")).status_code == 403
    assert (await admin.ask("GET", "/v1/admin/orders?stage=nonsense")).status_code == 422
