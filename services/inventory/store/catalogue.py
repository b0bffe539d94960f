"""The catalogue: vendors, products and variants, written in key order and read as a shop shows them."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import asyncpg

from contracts.http.inventory import ImportProduct, ImportVendor, Offer, Product, Variant
from services.chassis.db import Tx
from services.chassis.ids import new_id

PUT_VENDORS = """
    insert into vendors as known (id, name, delivery_charge_paisa)
    select * from unnest($1::uuid[], $2::text[], $3::bigint[]) as put (id, name, delivery_charge_paisa)
    order by id
    on conflict (id) do update
    set name = excluded.name,
        delivery_charge_paisa = excluded.delivery_charge_paisa,
        version = known.version + 1
"""

KNOWN_VENDORS = "select id from vendors where id = any($1::uuid[])"

PUT_PRODUCTS = """
    insert into products as known (id, slug, vendor_id, title)
    select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) as put (id, slug, vendor_id, title)
    order by slug
    on conflict (slug) do update
    set vendor_id = excluded.vendor_id,
        title = excluded.title,
        withdrawn_at = null,
        version = known.version + 1
    returning id, slug
"""

# A SKU stays with its product: one that belongs to another is not returned, and the caller refuses.
PUT_VARIANTS = """
    insert into variants as known (sku, product_id, price_paisa)
    select * from unnest($1::text[], $2::uuid[], $3::bigint[]) as put (sku, product_id, price_paisa)
    order by sku
    on conflict (sku) do update
    set price_paisa = excluded.price_paisa, withdrawn_at = null
    where known.product_id = excluded.product_id
    returning sku
"""

OPEN_STOCK = """
    insert into stock (sku) select sku from unnest($1::text[]) as put (sku) order by sku
    on conflict (sku) do nothing
"""

WITHDRAW_OTHER_VARIANTS = """
    update variants set withdrawn_at = now()
    where product_id = any($1::uuid[]) and sku <> all($2::text[]) and withdrawn_at is null
"""

WITHDRAW_PRODUCT = """
    update products set withdrawn_at = coalesce(withdrawn_at, now()), version = version + 1
    where slug = $1
    returning id
"""

PAGE = """
    select p.slug, p.title, p.vendor_id, p.id, v.sku, v.price_paisa, s.on_hand - s.reserved as available
    from (
        select id, slug, title, vendor_id from products
        where withdrawn_at is null and ($1::uuid is null or id < $1)
        order by id desc
        limit $2
    ) p
    left join variants v on v.product_id = p.id and v.withdrawn_at is null
    left join stock s on s.sku = v.sku
    order by p.id desc, v.sku
"""

PRODUCT = """
    select p.slug, p.title, p.vendor_id, p.id, v.sku, v.price_paisa, s.on_hand - s.reserved as available
    from products p
    left join variants v on v.product_id = p.id and v.withdrawn_at is null
    left join stock s on s.sku = v.sku
    where p.slug = $1 and p.withdrawn_at is null
    order by v.sku
"""

OFFERS = """
    select v.sku, p.slug, p.title, p.vendor_id, v.price_paisa, s.on_hand - s.reserved as available
    from variants v
    join products p on p.id = v.product_id and p.withdrawn_at is null
    join stock s on s.sku = v.sku
    where v.sku = any($1::text[]) and v.withdrawn_at is null
    order by v.sku
"""


async def put_vendors(tx: Tx, vendors: Sequence[ImportVendor]) -> None:
    """Insert or replace; in id order."""
    rows = [(one.id, one.name, one.delivery_charge_paisa) for one in vendors]
    await tx.execute(PUT_VENDORS, *zip(*rows, strict=True))


async def known_vendors(tx: Tx, vendor_ids: Iterable[UUID]) -> set[UUID]:
    """Those of these vendors that exist."""
    return {row["id"] for row in await tx.fetch(KNOWN_VENDORS, list(set(vendor_ids)))}


async def put_products(tx: Tx, products: Sequence[ImportProduct]) -> dict[str, UUID]:
    """Insert or replace, in slug order, and put back on sale; returns the ids by slug."""
    rows = [(new_id(), one.slug, one.vendor_id, one.title) for one in products]
    return {row["slug"]: row["id"] for row in await tx.fetch(PUT_PRODUCTS, *zip(*rows, strict=True))}


async def put_variants(tx: Tx, variants: Sequence[tuple[str, UUID, int]]) -> set[str]:
    """Insert or replace (sku, product, price), in SKU order, each with a stock; returns the SKUs accepted."""
    accepted = {row["sku"] for row in await tx.fetch(PUT_VARIANTS, *zip(*variants, strict=True))}
    await tx.execute(OPEN_STOCK, list(accepted))
    return accepted


async def withdraw_other_variants(tx: Tx, product_ids: Sequence[UUID], skus: Sequence[str]) -> None:
    """What these products no longer name is no longer on sale; its stock and its past stay."""
    await tx.execute(WITHDRAW_OTHER_VARIANTS, product_ids, skus)


async def withdraw_product(tx: Tx, slug: str) -> bool:
    """Take a product off sale; whether there is one."""
    return await tx.fetchval(WITHDRAW_PRODUCT, slug) is not None


async def page(tx: Tx, after: UUID | None, limit: int) -> list[tuple[UUID, Product]]:
    """Products on sale with their ids, newest first, older than `after`."""
    return _products(await tx.fetch(PAGE, after, limit))


async def product(tx: Tx, slug: str) -> Product | None:
    """One product on sale."""
    found = _products(await tx.fetch(PRODUCT, slug))
    return found[0][1] if found else None


async def offers(tx: Tx, skus: Sequence[str]) -> list[Offer]:
    """Those of these SKUs that are on sale."""
    return [Offer.model_validate(dict(row)) for row in await tx.fetch(OFFERS, skus)]


def _products(rows: Sequence[asyncpg.Record]) -> list[tuple[UUID, Product]]:
    return [
        (known[3], _product(known, [row for row in variants if row["sku"] is not None]))
        for known, variants in groupby(rows, key=lambda row: row[:4])
    ]


def _product(known: Sequence[Any], variants: Sequence[asyncpg.Record]) -> Product:
    slug, title, vendor_id, _ = known
    return Product(
        slug=slug,
        title=title,
        vendor_id=vendor_id,
        variants=[
            Variant(sku=row["sku"], price_paisa=row["price_paisa"], available=row["available"])
            for row in variants
        ],
    )
