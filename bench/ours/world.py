"""The services' world: migrated databases as templates, cloned for every round and filled with carts."""

from base64 import b64encode
from typing import Any, Final

import asyncpg
import orjson

from bench import catalogue
from bench.ground import PASSWORD, Ground
from infra import databases, keys
from services.chassis.migrate import migrate

SERVICES: Final = ("orders", "inventory", "payments")

SEED_STOCK: Final = """
    with received as (
        insert into adjustments (id, sku, delta, reason, made_by)
        select gen_random_uuid(), sku, $1, 'opening', gen_random_uuid() from variants
        returning id, sku, delta
    )
    insert into stock_movements (sku, kind, delta, adjustment_id)
    select sku, 'opening', delta, id from received
"""


def database(service: str) -> str:
    """The name of a service's database in this round."""
    return f"kb_{service}"


def dsn(ground: Ground, service: str) -> str:
    """The service's own DSN, with its login role."""
    role = databases.login_role(service)
    return databases.database_dsn(ground.admin_dsn, database(service), user=role, password=PASSWORD)


def settings(ground: Ground, service: str) -> dict[str, Any]:
    """What a service needs beside the shared settings."""
    secrets = keys.ensure(ground.folder / "keys")
    address_keys = ground.folder / "address-keys.json"
    address_keys.write_text(
        orjson.dumps({"current": "bench", "keys": {"bench": b64encode(bytes(32)).decode()}}).decode()
    )
    own: dict[str, dict[str, Any]] = {"orders": {"address_key_file": str(address_keys)}}
    return {"jwks_file": str(secrets.jwks)} | own.get(service, {})


async def make(ground: Ground, orders: int) -> None:
    """Fresh databases: empty but for the catalogue and the carts of this many customers."""
    for service in SERVICES:
        template = await _template(ground, service)
        await databases.drop(ground.admin_dsn, database(service))
        await databases.clone(ground.admin_dsn, service, template, database(service), PASSWORD)
    connection = await asyncpg.connect(ground.database(database("orders")))
    try:
        await connection.copy_records_to_table(
            "cart_lines", records=catalogue.cart_rows(orders), columns=["user_id", "sku", "quantity"]
        )
        await connection.execute("vacuum analyze cart_lines")
    finally:
        await connection.close()


async def _template(ground: Ground, service: str) -> str:
    """A migrated and seeded database that nobody connects to; made once per run."""
    name = f"template_{service}"
    if name not in ground.templates:
        await databases.provision(ground.admin_dsn, service, PASSWORD, database=name)
        await migrate(ground.database(name), service)
        if service == "inventory":
            await _seed(ground.database(name))
        ground.templates.add(name)
    return name


async def _seed(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        vendors = [(*row, 1) for row in catalogue.vendor_rows()]
        await connection.copy_records_to_table("vendors", records=vendors)
        rows = list(catalogue.sku_rows())
        products = [(catalogue.product(n), slug, vendor, title) for n, _, vendor, slug, title, _ in rows]
        await connection.copy_records_to_table(
            "products", records=products, columns=["id", "slug", "vendor_id", "title"]
        )
        variants = [(sku, catalogue.product(n), price) for n, sku, _, _, _, price in rows]
        await connection.copy_records_to_table(
            "variants", records=variants, columns=["sku", "product_id", "price_paisa"]
        )
        stock = [(sku, catalogue.STOCK_OF_EACH) for _, sku, *_ in rows]
        await connection.copy_records_to_table("stock", records=stock, columns=["sku", "on_hand"])
        await connection.execute(SEED_STOCK, catalogue.STOCK_OF_EACH)
        # Only what is filled: an empty table that was analysed is planned as if it stayed empty.
        await connection.execute("vacuum analyze vendors, products, variants, stock")
    finally:
        await connection.close()
