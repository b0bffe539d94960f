"""The cart over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from contracts.http.orders import Cart, CartLine, PutCartItem
from services.chassis.auth import Principal, require
from services.chassis.db import Tx
from services.chassis.errors import Problem
from services.chassis.http import Db
from services.orders import domain
from services.orders.store import carts

router = APIRouter()
Customer = Annotated[Principal, Depends(require("customer"))]
Sku = Annotated[str, Path(min_length=1, max_length=200)]


@router.get("/v1/cart")
async def get_cart(db: Db, caller: Customer) -> Cart:
    """What is in the cart: one line per SKU, whatever checkouts some of it came back from."""
    async with db.transaction() as tx:
        return await _cart(tx, caller)


@router.put("/v1/cart/items/{sku}")
async def put_item(db: Db, caller: Customer, sku: Sku, body: PutCartItem) -> Cart:
    """Exactly so many of this SKU; the line lives for another 30 days."""
    async with db.transaction() as tx:
        if not await carts.put_line(tx, caller.subject, sku, body.quantity, domain.MOST_CART_LINES):
            raise Problem(422, "CART_FULL", f"A cart takes at most {domain.MOST_CART_LINES} different SKUs.")
        return await _cart(tx, caller)


@router.delete("/v1/cart/items/{sku}")
async def delete_item(db: Db, caller: Customer, sku: Sku) -> Cart:
    """Nothing of this SKU any more, also when there was none."""
    async with db.transaction() as tx:
        await carts.put_line(tx, caller.subject, sku, 0, domain.MOST_CART_LINES)
        return await _cart(tx, caller)


async def _cart(tx: Tx, caller: Principal) -> Cart:
    lines = await carts.read_cart(tx, caller.subject)
    return Cart(lines=[CartLine(sku=line.sku, quantity=line.quantity) for line in lines])
