"""What the tables refuse by themselves, whoever writes: every constraint broken once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from services.chassis.ids import new_id
from services.orders.addresses import Addresses
from tests.integration.orders.front import ADDRESS, Front
from tests.integration.orders.world import Orders

HISTORIES = ("checkout_history", "order_history", "item_history")
TABLES = ("cart_lines", "checkouts", "delivery_addresses", "orders", "order_items", *HISTORIES)
NIL = "'00000000-0000-0000-0000-000000000000'"


def _histories() -> dict[str, str]:
    broken: dict[str, str] = {}
    for table, key, states in (
        ("checkout_history", "order_id", "old_stage, new_stage"),
        ("order_history", "order_id", "old_status, new_status"),
        ("item_history", "item_id, order_id", "old_status, new_status"),
    ):
        columns = f"insert into {table} ({key}, seq, {states}, actor_type, reason) select {key}"
        broken |= {
            f"{table}_pkey": f"{columns}, seq, {states}, actor_type, reason from {table}",
            f"{table}_seq_check": f"{columns}, 0, 'a', 'b', 'system', '' from {table} limit 1",
            f"{table}_actor_type_check": f"{columns}, 9, 'a', 'b', 'ghost', '' from {table} limit 1",
            f"{table}_check": f"{columns}, 9, null, 'b', 'system', '' from {table} limit 1",
        }
    return broken


BROKEN = {
    "cart_lines_pkey": "insert into cart_lines select * from cart_lines",
    "cart_lines_sku_check": "update cart_lines set sku = ''",
    "cart_lines_quantity_check": "update cart_lines set quantity = 51",
    "checkouts_pkey": "insert into checkouts select * from checkouts",
    "checkouts_stage_check": "update checkouts set stage = 'paid'",
    "checkouts_method_check": "update checkouts set method = 'cash'",
    "checkouts_pay_within_s_check": "update checkouts set pay_within_s = 0",
    "checkouts_lines_check": "update checkouts set lines = '{}'",
    "checkouts_total_paisa_check": "update checkouts set total_paisa = -1",
    "checkouts_hold_no_check": "update checkouts set hold_no = 0",
    "checkouts_hold_check": "update checkouts set hold = 'maybe'",
    "checkouts_paid_paisa_check": "update checkouts set paid_paisa = -1",
    "checkouts_stored_check": "update checkouts set stored = 'verified'",
    "checkouts_version_check": "update checkouts set version = 0",
    "checkouts_priced": "update checkouts set total_paisa = null",
    "checkouts_money": "update checkouts set paid_at = null",
    "delivery_addresses_pkey": "insert into delivery_addresses select * from delivery_addresses",
    "delivery_addresses_order_id_fkey": "update delivery_addresses set order_id = gen_random_uuid()",
    "delivery_addresses_sealed_check": "update delivery_addresses set sealed = ''",
    "orders_pkey": "insert into orders select * from orders",
    "orders_order_id_fkey": "delete from checkouts",
    "orders_order_number_key": "update orders set order_number = 'ORD-2026-7777777'",
    "orders_order_number_check": "update orders set order_number = 'ORD-1700000000'",
    "orders_method_check": "update orders set method = 'cash'",
    "orders_status_check": "update orders set status = 'unfulfilled'",
    "orders_total_paisa_check": "update orders set total_paisa = -1",
    "orders_hold_no_check": "update orders set hold_no = 0",
    "orders_version_check": "update orders set version = 0",
    "orders_steps_check": "update orders set steps = 0",
    "orders_delivered_at": "update orders set status = 'delivered'",
    "order_items_pkey": "update order_items set line = 1",
    "order_items_id_key": f"update order_items set id = {NIL}",
    "order_items_order_id_fkey": "update order_items set order_id = gen_random_uuid()",
    "order_items_line_check": "update order_items set line = 101",
    "order_items_sku_check": "update order_items set sku = ''",
    "order_items_quantity_check": "update order_items set quantity = 0, net_paisa = 0",
    "order_items_price_paisa_check": "update order_items set price_paisa = -1, net_paisa = -quantity",
    "order_items_delivery_paisa_check": "update order_items set delivery_paisa = -1",
    "order_items_vendor_id_check": f"update order_items set vendor_id = {NIL}",
    "order_items_slug_check": "update order_items set slug = ''",
    "order_items_status_check": "update order_items set status = 'unfulfilled'",
    "order_items_version_check": "update order_items set version = 0",
    "order_items_net": "update order_items set net_paisa = net_paisa + 1",
    "order_items_delivered_at": "update order_items set delivered_at = now()",
    **_histories(),
}
CONSTRAINTS = """
    select conname from pg_constraint
    where contype in ('c', 'f', 'p', 'u') and conrelid = any($1::text[]::regclass[])
"""


@asynccontextmanager
async def admin(orders: Orders) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(orders.admin_dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def test_no_constraint_is_left_untried(orders: Orders) -> None:
    async with admin(orders) as connection:
        known = {row["conname"] for row in await connection.fetch(CONSTRAINTS, list(TABLES))}
    assert known == set(BROKEN)


async def test_every_constraint_refuses_what_breaks_it(orders: Orders) -> None:
    for sku in ("kurta", "topi"):
        await orders.confirmed(new_id(), **{sku: 2, "dhaka": 1})
    await orders.put(new_id(), kurta=1)
    async with admin(orders) as connection:
        for name, statement in BROKEN.items():
            transaction = connection.transaction()
            await transaction.start()
            with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
                await connection.execute(statement)
            await transaction.rollback()
            assert refused.value.constraint_name == name


async def test_an_order_without_items_cannot_be_committed(orders: Orders) -> None:
    waiting = await orders.awaiting_payment(new_id())
    insert = """
        insert into orders (order_id, customer_id, order_number, method, status, total_paisa, hold_no,
                            created_at, seq, version)
        values ($1, $1, 'ORD-2026-9999999', 'esewa', 'confirmed', 0, 1, now(), 1, 1)
    """
    with pytest.raises(asyncpg.CheckViolationError, match="has no items"):
        await orders.rows(insert, waiting.order_id)


async def test_the_last_item_cannot_be_taken_from_an_order(orders: Orders) -> None:
    await orders.confirmed(new_id(), kurta=1, topi=1)
    await orders.as_admin("delete from order_items where line = 2")
    with pytest.raises(asyncpg.CheckViolationError, match="would have no items"):
        await orders.as_admin("delete from order_items")


async def test_items_go_with_their_order(orders: Orders) -> None:
    await orders.confirmed(new_id(), kurta=1, topi=1)
    await orders.as_admin("delete from orders")
    assert await orders.rows("select from order_items") == []


@pytest.mark.parametrize("table", HISTORIES)
@pytest.mark.parametrize("change", ["update {} set reason = 'x'", "delete from {}", "truncate {}"])
async def test_histories_are_append_only_for_the_service_and_for_their_owner(
    orders: Orders, table: str, change: str
) -> None:
    await orders.confirmed(new_id())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await orders.rows(change.format(table))
    with pytest.raises(asyncpg.RestrictViolationError, match="append only"):
        await orders.as_admin(change.format(table))


@pytest.mark.parametrize("table", ["checkouts", "orders", "order_items", "delivery_addresses"])
async def test_the_service_cannot_delete_what_it_is_accountable_for(orders: Orders, table: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await orders.rows(f"delete from {table}")


async def test_an_address_cannot_be_read_in_the_database_but_opened_with_the_key(
    orders: Orders, front: Front
) -> None:
    buyer = front.customer()
    placed = await buyer.checks_out(kurta=1)
    [row] = await orders.rows("select order_id, sealed from delivery_addresses")
    assert not any(value.encode() in row["sealed"] for value in ADDRESS.values())
    addresses: Addresses = front.addresses
    assert addresses.open(row["order_id"], row["sealed"]) == ADDRESS
    every_table = await orders.rows(
        "select to_jsonb(o)::text as row from outbox o union all select to_jsonb(c)::text from checkouts c"
    )
    assert placed["id"] in every_table[0]["row"]
    assert not any(ADDRESS["name"] in row["row"] or ADDRESS["line1"] in row["row"] for row in every_table)
