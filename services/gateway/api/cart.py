"""The cart: orders knows what is in it, inventory what it costs and whether it is still on sale."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response

from contracts.http.gateway import CartView, CartViewLine
from contracts.http.inventory import Offer, Offers
from contracts.http.orders import Cart, CartLine, PutCartItem
from services.chassis.auth import Principal
from services.chassis.errors import Problem
from services.gateway.api.admission import PROBLEMS, SIGNED_IN, admit
from services.gateway.api.forwards import CUSTOMER, Segment, passed_on
from services.gateway.upstreams import Upstreams, parse

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Customer = Annotated[Principal, Depends(admit(*CUSTOMER))]


@router.get("/cart", openapi_extra=SIGNED_IN, operation_id="get_cart")
async def get_cart(request: Request, _: Customer) -> CartView:
    """What is in the cart, at today's prices."""
    upstreams: Upstreams = request.app.state.upstreams
    cart = await upstreams.get("orders", "/v1/cart", Cart, request.headers)
    return view_of(cart, await _offers(request, [line.sku for line in cart.lines]))


@router.put(
    "/cart/items/{sku}", response_model=Cart, openapi_extra=SIGNED_IN, operation_id="put_cart_items_sku"
)
async def put_item(request: Request, sku: Segment, body: PutCartItem, _: Customer) -> Response:  # noqa: ARG001 - checked here, sent on as it came
    """Exactly so many of this SKU, 1 to 50; 404 `PRODUCT_UNAVAILABLE` for one that is not on sale."""
    if not await _offers(request, [sku]):
        raise Problem(404, "PRODUCT_UNAVAILABLE")
    upstreams: Upstreams = request.app.state.upstreams
    reply = await upstreams.call(
        "orders",
        "PUT",
        f"/v1/cart/items/{quote(sku, safe='')}",
        headers=request.headers,
        body=await request.body(),
    )
    return passed_on(reply)


async def _offers(request: Request, skus: list[str]) -> dict[str, Offer]:
    if not skus:
        return {}
    upstreams: Upstreams = request.app.state.upstreams
    query = [("sku", sku) for sku in sorted(set(skus))]
    reply = await upstreams.call(
        "inventory", "GET", "/internal/variants", headers=request.headers, query=query
    )
    return {offer.sku: offer for offer in parse(reply, Offers).data}


def view_of(cart: Cart, offers: dict[str, Offer]) -> CartView:
    """The cart with what inventory says of each line."""
    lines = [_line(line, offers.get(line.sku)) for line in cart.lines]
    return CartView(
        lines=lines, subtotal_paisa=sum((line.price_paisa or 0) * line.quantity for line in lines)
    )


def _line(line: CartLine, offer: Offer | None) -> CartViewLine:
    if offer is None:
        return CartViewLine(sku=line.sku, quantity=line.quantity, on_sale=False)
    return CartViewLine(quantity=line.quantity, on_sale=True, **offer.model_dump())
