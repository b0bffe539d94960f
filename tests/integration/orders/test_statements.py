"""Every statement fits the migrated schema and finds its rows through an index."""

import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from services.orders.store import carts, checkouts, health, old_data, reading, timers
from services.orders.store import orders as order_store
from tests.integration.orders.world import Orders

STORES = (carts, checkouts, health, old_data, order_store, reading, timers)
FRAGMENTS = {"COLUMNS", "ORDER_COLUMNS", "ITEM_COLUMNS", "STEPS", "SUMMARY", "LOCK_DUE", "UNPAID", "ROLLUP"}
"""Parts of statements; they are checked with the whole they belong to."""
TABLES = {"cart_lines", "checkouts", "orders", "order_items", "delivery_addresses"}


def statements(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, value in vars(module).items():
        if name.isupper() and isinstance(value, str) and name not in FRAGMENTS:
            yield f"{module.__name__.rsplit('.', 1)[1]}.{name}", value


STATEMENTS = dict(pair for module in STORES for pair in statements(module))


def test_there_are_statements_to_check() -> None:
    assert len(STATEMENTS) >= 20


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_fits_the_schema_and_may_be_run_by_the_service(orders: Orders, name: str) -> None:
    connection = await asyncpg.connect(orders.db.dsn)
    try:
        prepared = await connection.prepare(STATEMENTS[name])
        async with connection.transaction():
            nothing = [None] * len(prepared.get_parameters())
            await connection.fetch(STATEMENTS[name], *nothing)
    finally:
        await connection.close()


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_reads_no_table_from_end_to_end(orders: Orders, name: str) -> None:
    """Planned once for all parameters and with sequential scans made dear: what is left has no index."""
    connection = await asyncpg.connect(orders.admin_dsn)
    try:
        plan = await _plan(connection, STATEMENTS[name])
    finally:
        await connection.close()
    scanned = {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}
    assert not scanned & TABLES


async def _plan(connection: asyncpg.Connection, statement: str) -> list[dict[str, Any]]:
    count = len(set(re.findall(r"\$\d+", statement)))
    values = f"({', '.join(['null'] * count)})" if count else ""
    await connection.execute("set plan_cache_mode = force_generic_plan; set enable_seqscan = off")
    await connection.execute(f"prepare looked_at as {statement}")
    explained = await connection.fetchval(f"explain (format json) execute looked_at{values}")
    return list(_nodes(json.loads(explained)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


async def test_the_roll_up_reads_its_items_through_the_key_of_the_order(orders: Orders) -> None:
    connection = await asyncpg.connect(orders.admin_dsn)
    try:
        plan = await _plan(connection, order_store.READ_ITEMS)
    finally:
        await connection.close()
    assert {node.get("Index Name") for node in plan} & {"order_items_pkey"}
