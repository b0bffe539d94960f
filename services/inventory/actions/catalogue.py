"""The catalogue as admins write it: one row or five thousand, the same way, all or nothing."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from contracts.http.inventory import Import, Imported, ImportProduct, ImportStock
from services.chassis.db import Tx
from services.chassis.decisions import Refused
from services.chassis.errors import FieldError
from services.chassis.ids import new_id
from services.inventory.actions.stock import adjust_stock
from services.inventory.domain import Adjustment
from services.inventory.store import catalogue

ARRIVED = "catalogue import"

NAMED_TWICE = "Named twice."
NO_VENDOR = "There is no such vendor."
TAKEN = "The SKU belongs to another product."
NOTHING = "No units came or went."


async def import_catalogue(tx: Tx, wanted: Import, made_by: UUID) -> tuple[Imported, list[FieldError]]:
    """Write everything, and say for each row that does not fit where it is and why.

    With an error the caller must let the transaction fail: what did fit is written already.
    """
    errors = named_twice(wanted)
    if errors:
        return _summary(wanted), errors
    if wanted.vendors:
        await catalogue.put_vendors(tx, wanted.vendors)
    errors += await put_products(tx, wanted.products)
    errors += await _receive(tx, wanted.stock, made_by)
    return _summary(wanted), errors


async def put_products(tx: Tx, products: Sequence[ImportProduct]) -> list[FieldError]:
    """Write these products as they are given: a variant one no longer names is withdrawn."""
    vendors = await catalogue.known_vendors(tx, (one.vendor_id for one in products))
    errors = [
        FieldError(f"/products/{place}/vendor_id", "VENDOR_NOT_FOUND", NO_VENDOR)
        for place, one in enumerate(products)
        if one.vendor_id not in vendors
    ]
    if not products or errors:
        return errors
    ids = await catalogue.put_products(tx, products)
    rows = [
        (variant.sku, ids[product.slug], variant.price_paisa)
        for product in products
        for variant in product.variants
    ]
    accepted = await catalogue.put_variants(tx, rows)
    await catalogue.withdraw_other_variants(tx, list(ids.values()), [sku for sku, _, _ in rows])
    return [
        FieldError(f"/products/{place}/variants/{number}/sku", "SKU_TAKEN", TAKEN)
        for place, product in enumerate(products)
        for number, variant in enumerate(product.variants)
        if variant.sku not in accepted
    ]


async def _receive(tx: Tx, stock: Sequence[ImportStock], made_by: UUID) -> list[FieldError]:
    empty = [
        FieldError(f"/stock/{place}/on_hand_delta", "NOTHING_TO_DO", NOTHING)
        for place, one in enumerate(stock)
        if one.on_hand_delta == 0
    ]
    if empty:
        return empty
    arrived = [Adjustment(new_id(), one.sku, one.on_hand_delta, ARRIVED, made_by) for one in stock]
    outcomes = await adjust_stock(tx, arrived, counted=False)
    return [
        FieldError(f"/stock/{place}/sku", outcome.code, outcome.detail)
        for place, outcome in enumerate(outcomes)
        if isinstance(outcome, Refused)
    ]


def named_twice(wanted: Import) -> list[FieldError]:
    """One statement cannot write one row twice, and nobody could say which of the two was meant."""
    vendors = ((f"/vendors/{place}/id", one.id) for place, one in enumerate(wanted.vendors))
    products = ((f"/products/{place}/slug", one.slug) for place, one in enumerate(wanted.products))
    variants = (
        (f"/products/{place}/variants/{number}/sku", variant.sku)
        for place, product in enumerate(wanted.products)
        for number, variant in enumerate(product.variants)
    )
    return [*_repeated(vendors), *_repeated(products), *_repeated(variants)]


def _repeated(named: Iterable[tuple[str, object]]) -> Iterable[FieldError]:
    seen: set[object] = set()
    for pointer, name in named:
        if name in seen:
            yield FieldError(pointer, "NAMED_TWICE", NAMED_TWICE)
        seen.add(name)


def _summary(wanted: Import) -> Imported:
    return Imported(
        vendors=len(wanted.vendors),
        products=len(wanted.products),
        variants=sum(len(product.variants) for product in wanted.products),
        stock=len(wanted.stock),
    )
