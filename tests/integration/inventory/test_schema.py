"""The schema: every statement fits it, every constraint holds, the service may do no more than it needs."""

import re
from types import ModuleType
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.inventory.store import catalogue, health, holds, stock
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.examples import finalized, placed

STORES = (catalogue, health, holds, stock)


def _statements(module: ModuleType) -> dict[str, str]:
    return {
        f"{module.__name__}.{name}": value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }


async def test_every_statement_fits_the_schema_and_the_grants(shop: Shop) -> None:
    for store in STORES:
        for statement in _statements(store).values():
            async with shop.db.transaction() as tx:
                prepared = await tx.connection.prepare(statement)
                await prepared.fetch(*[None] * len(prepared.get_parameters()))


def test_every_lock_and_every_upsert_is_taken_in_key_order() -> None:
    """On small tables rows come in key order anyway, so that no run of ours would show what is missing."""
    for store in STORES:
        for name, statement in _statements(store).items():
            locks = len(re.findall(r"for update|on conflict", statement))
            in_order = re.findall(
                r"order by (?:s\.)?(?:order_id|sku|id|slug)\s+(?:for update|on conflict)", statement
            )
            assert len(in_order) == locks, name


ORDER = UUID(int=7)
SOLD = "insert into stock_movements (sku, kind, delta, order_id, hold_no) values ('a', 'sold', -1, $1, 1)"
BACK = """
    insert into stock_movements (sku, kind, delta, order_id, order_item_id)
    values ('a', 'returned', 1, $1, $1)
"""

VIOLATIONS = {
    "stock_never_oversold: more promised than there is": "update stock set reserved = on_hand + 1",
    "stock_never_oversold: less than nothing promised": "update stock set reserved = -1",
    "stock_never_oversold: less than nothing on hand": "update stock set reserved = -2, on_hand = -1",
    "stock_sku_fkey": "insert into stock (sku) values ('nobody sells this')",
    "stock_pkey": "insert into stock (sku) values ('a')",
    "vendors_delivery_charge_paisa_check": "update vendors set delivery_charge_paisa = -1",
    "vendors_name_check": "update vendors set name = ''",
    "vendors_pkey": "insert into vendors select * from vendors",
    "products_vendor_id_fkey": "update products set vendor_id = gen_random_uuid()",
    "products_slug_key": """
        insert into products (id, slug, vendor_id, title)
        select gen_random_uuid(), slug, vendor_id, title from products
    """,
    "products_slug_check": "update products set slug = ''",
    "products_title_check": "update products set title = ''",
    "products_pkey": "insert into products select id, 'other', vendor_id, title from products",
    "variants_pkey": "insert into variants select * from variants where sku = 'a'",
    "variants_product_id_fkey": "update variants set product_id = gen_random_uuid()",
    "variants_price_paisa_check": "update variants set price_paisa = -1",
    "variants_sku_check": "insert into variants select '', product_id, price_paisa from variants limit 1",
    "hold_orders_pkey": "insert into hold_orders select * from hold_orders",
    "holds_pkey": "insert into holds select * from holds",
    "holds_order_id_fkey": """
        insert into holds (order_id, hold_no, status) values (gen_random_uuid(), 1, 'held')
    """,
    "holds_status_check": "update holds set status = 'lost', closed_at = now()",
    "holds_hold_no_check": """
        insert into holds (order_id, hold_no, status, closed_at) select order_id, 0, 'ended', now() from holds
    """,
    "holds_closed_when_not_held: closed but held": "update holds set closed_at = now()",
    "holds_closed_when_not_held: ended but open": "update holds set status = 'ended'",
    "holds_one_held": "insert into holds (order_id, hold_no, status) select order_id, 2, 'held' from holds",
    "hold_lines_pkey": "insert into hold_lines select * from hold_lines",
    "hold_lines_quantity_check": """
        insert into hold_lines
        select order_id, hold_no, 'z', 0, price_paisa, vendor_id, delivery_paisa, slug, title from hold_lines
    """,
    "hold_lines_price_paisa_check": """
        insert into hold_lines
        select order_id, hold_no, 'z', 1, -1, vendor_id, delivery_paisa, slug, title from hold_lines
    """,
    "hold_lines_delivery_paisa_check": """
        insert into hold_lines
        select order_id, hold_no, 'z', 1, 1, vendor_id, -1, slug, title from hold_lines
    """,
    "adjustments_delta_check": """
        insert into adjustments (id, sku, delta, reason, made_by)
        select gen_random_uuid(), sku, 0, reason, made_by from adjustments
    """,
    "adjustments_reason_check": """
        insert into adjustments (id, sku, delta, reason, made_by)
        select gen_random_uuid(), sku, 1, '', made_by from adjustments
    """,
    "adjustments_sku_fkey": """
        insert into adjustments (id, sku, delta, reason, made_by)
        select gen_random_uuid(), 'nobody sells this', 1, reason, made_by from adjustments
    """,
    "adjustments_pkey": "insert into adjustments select * from adjustments",
    "stock_movements_kind_check": "insert into stock_movements (sku, kind, delta) values ('a', 'stolen', 1)",
    "stock_movements_delta_check": SOLD.replace("-1", "0"),
    "stock_movements_kind_fits: a sale that brings units": SOLD.replace("-1", "1"),
    "stock_movements_kind_fits: a sale for nobody": SOLD.replace("$1", "null"),
    "stock_movements_kind_fits: a return of no item": BACK.replace("$1, $1", "$1, null"),
    "stock_movements_kind_fits: an adjustment nobody made": """
        insert into stock_movements (sku, kind, delta) values ('a', 'adjusted', 1)
    """,
    "stock_movements_adjusted_once": """
        insert into stock_movements (sku, kind, delta, adjustment_id)
        select sku, kind, delta, adjustment_id from stock_movements where adjustment_id is not null
    """,
    "stock_movements_adjustment_id_fkey": """
        insert into stock_movements (sku, kind, delta, adjustment_id)
        values ('a', 'adjusted', 1, gen_random_uuid())
    """,
    "stock_movements_sold_once": f"{SOLD}, ('a', 'sold', -1, $1, 1)",
    "stock_movements_returned_once": f"{BACK}, ('a', 'returned', 2, $1, $1)",
}


async def test_the_tables_refuse_what_would_break_a_promise(shop: Shop) -> None:
    await shop.fill(a=5)
    await shop.hear(placed(ORDER, a=1))
    for broken, statement in VIOLATIONS.items():
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await shop.rows(statement, *([ORDER] if "$1" in statement else []))
        assert refused.value.constraint_name == broken.partition(":")[0], broken


async def test_every_constraint_is_violated_by_one_of_these_tests(shop: Shop) -> None:
    named = await shop.rows(
        """
        select conname::text from pg_constraint
        where connamespace = 'public'::regnamespace and conrelid::regclass::text = any($1)
        union
        select i.indexrelid::regclass::text from pg_index i
        where i.indisunique and i.indpred is not null and i.indrelid::regclass::text = any($1)
    """,
        OWNED,
    )
    # An identity cannot be given by hand, so its key cannot be broken.
    known = {broken.partition(":")[0] for broken in VIOLATIONS} | {"stock_movements_pkey"}
    assert {name for (name,) in named} == known


OWNED = [
    "vendors",
    "products",
    "variants",
    "stock",
    "hold_orders",
    "holds",
    "hold_lines",
    "adjustments",
    "stock_movements",
]
GROWING = ("hold_lines", "adjustments", "stock_movements")


async def test_the_service_may_delete_nothing_and_not_change_what_only_grows(shop: Shop) -> None:
    forbidden = [f"{verb} {table}" for table in OWNED for verb in ("delete from", "truncate", "drop table")]
    forbidden += [f"update {table} set sku = 'z'" for table in GROWING]
    for statement in forbidden:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await shop.rows(statement)


async def test_even_a_superuser_is_refused_a_change_of_what_only_grows(shop: Shop) -> None:
    await shop.fill(a=5)
    order = uuid4()
    await shop.hear(placed(order))
    await shop.hear(finalized(order))
    admin = await asyncpg.connect(shop.admin_dsn)
    try:
        for table in GROWING:
            for change in (
                f"update {table} set sku = 'z'",
                f"delete from {table}",
                f"truncate {table} cascade",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                    await admin.execute(change)
    finally:
        await admin.close()
