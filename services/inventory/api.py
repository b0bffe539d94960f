"""Door 2, HTTP: the catalogue for everybody, its upkeep for admins, the stock for vendors and admins."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from contracts.http import Id, PathSku
from contracts.http.inventory import (
    AdjustStock,
    Import,
    ImportProduct,
    ImportVendor,
    Offers,
    Product,
    ProductPage,
    PutProduct,
    PutVendor,
    SkuText,
    SlugText,
    Stock,
    Vendor,
)
from services.chassis.auth import Principal, require
from services.chassis.db import Tx
from services.chassis.decisions import Refused
from services.chassis.errors import FieldError, Problem
from services.chassis.http import Db, IdempotencyKey
from services.chassis.idempotency import Answer, once, request_of, respond
from services.chassis.ids import new_id
from services.chassis.pages import Limit, cursor_of, position_of
from services.inventory.actions import catalogue as actions
from services.inventory.actions.stock import adjust_stock
from services.inventory.domain import Adjustment, Level
from services.inventory.store import catalogue

router = APIRouter()

MOST_SKUS: Final = 50
MOST_ERRORS: Final = 100
PRODUCTS: Final = "products"

Admin = Annotated[Principal, Depends(require("admin"))]
Seller = Annotated[Principal, Depends(require("vendor"))]


# ---------------------------------------------------------------------------- for everybody


@router.get("/v1/products")
async def list_products(db: Db, limit: Limit, after: str | None = None) -> ProductPage:
    """What is on sale, newest first."""
    position = position_of(after, of=PRODUCTS)
    async with db.transaction() as tx:
        found = await catalogue.page(tx, position, limit + 1)
    shown, has_more = found[:limit], len(found) > limit
    following = cursor_of(shown[-1][0], of=PRODUCTS) if has_more else None
    return ProductPage(data=[product for _, product in shown], next=following, has_more=has_more)


@router.get("/v1/products/{slug}")
async def get_product(db: Db, slug: str) -> Product:
    """One product on sale."""
    async with db.transaction() as tx:
        product = await catalogue.product(tx, slug)
    if product is None:
        raise Problem(404, "NOT_FOUND")
    return product


@router.get("/internal/variants")
async def get_offers(
    db: Db, sku: Annotated[list[PathSku], Query(min_length=1, max_length=MOST_SKUS)]
) -> Offers:
    """What a cart is shown with; a SKU that is not on sale is left out."""
    async with db.transaction() as tx:
        return Offers(data=await catalogue.offers(tx, sku))


# ---------------------------------------------------------------------------- stock


@router.post("/v1/vendor/stock/{sku}/adjustments", status_code=201, response_model=Stock)
async def adjust_own_stock(
    request: Request,
    db: Db,
    key: IdempotencyKey,
    caller: Seller,
    sku: Annotated[SkuText, Path()],
    body: AdjustStock,
) -> Response:
    """A vendor counts its own goods; another vendor's SKU is not there."""
    own = Adjustment(new_id(), sku, body.delta, body.reason, caller.subject, caller.vendor_id)
    return await _adjust(request, db, key, caller, own)


@router.post("/v1/admin/stock/{sku}/adjustments", status_code=201, response_model=Stock)
async def adjust_any_stock(
    request: Request,
    db: Db,
    key: IdempotencyKey,
    caller: Admin,
    sku: Annotated[SkuText, Path()],
    body: AdjustStock,
) -> Response:
    """An admin counts anybody's goods."""
    return await _adjust(
        request, db, key, caller, Adjustment(new_id(), sku, body.delta, body.reason, caller.subject)
    )


async def _adjust(request: Request, db: Db, key: str, caller: Principal, adjustment: Adjustment) -> Response:
    if adjustment.delta == 0:
        errors = [FieldError("/delta", "NOTHING_TO_DO", actions.NOTHING)]
        raise Problem(422, "VALIDATION_FAILED", errors=errors)

    async def work(tx: Tx) -> Answer:
        (outcome,) = await adjust_stock(tx, [adjustment], counted=True)
        if isinstance(outcome, Refused):
            raise Problem(404 if outcome.code == "NOT_FOUND" else 409, outcome.code, outcome.detail)
        return Answer(201, _stock(outcome).model_dump(mode="json"))

    return respond(await once(db, await request_of(request, caller, key), work))


def _stock(level: Level) -> Stock:
    return Stock(
        sku=level.sku,
        on_hand=level.on_hand,
        reserved=level.reserved,
        available=level.on_hand - level.reserved,
        version=level.version,
    )


# ---------------------------------------------------------------------------- the catalogue's upkeep


@router.put("/v1/admin/vendors/{vendor_id}")
async def put_vendor(db: Db, _: Admin, vendor_id: Id, body: PutVendor) -> Vendor:
    """Make or replace a vendor; open carts and holds keep the delivery charge they were made with."""
    async with db.transaction() as tx:
        await catalogue.put_vendors(tx, [ImportVendor(id=vendor_id, **body.model_dump())])
    return Vendor(id=vendor_id, **body.model_dump())


@router.put("/v1/admin/products/{slug}")
async def put_product(db: Db, _: Admin, slug: Annotated[SlugText, Path()], body: PutProduct) -> Product:
    """Make or replace a product and put it on sale; a variant that is left out is withdrawn."""
    wanted = ImportProduct(slug=slug, **dict(body))
    async with db.transaction() as tx:
        _refuse_first(actions.named_twice(Import(products=[wanted])))
        _refuse_first(await actions.put_products(tx, [wanted]))
        product = await catalogue.product(tx, slug)
    assert product is not None, "it was put on sale in this transaction"
    return product


@router.delete("/v1/admin/products/{slug}", status_code=204)
async def withdraw_product(db: Db, _: Admin, slug: Annotated[SlugText, Path()]) -> None:
    """Take a product off sale; what is held of it may still be paid and sold."""
    async with db.transaction() as tx:
        if not await catalogue.withdraw_product(tx, slug):
            raise Problem(404, "NOT_FOUND")


@router.post("/v1/admin/catalogue/imports", status_code=201)
async def import_catalogue(
    request: Request, db: Db, key: IdempotencyKey, caller: Admin, body: Import
) -> Response:
    """All rows or none; every row that does not fit is named."""

    async def work(tx: Tx) -> Answer:
        imported, errors = await actions.import_catalogue(tx, body, caller.subject)
        if errors:
            raise Problem(
                422, "VALIDATION_FAILED", f"{len(errors)} rows do not fit.", errors=errors[:MOST_ERRORS]
            )
        return Answer(201, imported.model_dump(mode="json"))

    return respond(await once(db, await request_of(request, caller, key), work))


SAID_ALONE: Final = {"VENDOR_NOT_FOUND": 422, "SKU_TAKEN": 409}
"""What a single product is refused with by its own code, so that a caller need not look into `errors`."""


def _refuse_first(errors: list[FieldError]) -> None:
    if errors:
        own = [FieldError(one.pointer.removeprefix("/products/0"), one.code, one.detail) for one in errors]
        code = own[0].code if own[0].code in SAID_ALONE else "VALIDATION_FAILED"
        raise Problem(SAID_ALONE.get(code, 422), code, own[0].detail, errors=own)
