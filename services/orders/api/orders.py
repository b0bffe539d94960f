"""Orders over HTTP, for their customers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from contracts.http import Id
from contracts.http import orders as bodies
from services.chassis import idempotency
from services.chassis.auth import Principal, require
from services.chassis.errors import Problem
from services.chassis.http import Db, IdempotencyKey, IfMatch, etag, is_fresh, not_modified
from services.orders.api.moves import Moves, Moving
from services.orders.api.pages import After, Limit, cursor_of, position_of
from services.orders.api.views import order_view, summary_view
from services.orders.domain import Actor, ItemStatus, MoveItem
from services.orders.store import reading

router = APIRouter()
Customer = Annotated[Principal, Depends(require("customer"))]
LISTING = "orders"


@router.get("/v1/orders")
async def list_orders(db: Db, caller: Customer, limit: Limit = 20, after: After = None) -> bodies.OrderPage:
    """Orders, newest first, and checkouts that are still being processed."""
    position = position_of(after, LISTING, caller.subject)
    async with db.transaction() as tx:
        found = await reading.list_orders(tx, caller.subject, position, limit + 1)
    shown, more = found[:limit], len(found) > limit
    following = cursor_of(shown[-1].order_id, LISTING, caller.subject) if more else None
    return bodies.OrderPage(data=[summary_view(one) for one in shown], next=following, has_more=more)


@router.get("/v1/orders/{id}", response_model=bodies.Order)
async def get_order(request: Request, response: Response, db: Db, caller: Customer, id: Id) -> Any:  # noqa: A002, ANN401 - a view or 304
    """One order with its items, and what its customer may do with each."""
    async with db.transaction() as tx:
        order = await reading.read_order(tx, id, caller.subject)
    if order is None:
        raise Problem(404, "NOT_FOUND")
    if is_fresh(request, order.version):
        return not_modified(order.version)
    response.headers["ETag"] = etag(order.version)
    return order_view(order, Actor("customer", caller.subject))


@router.post("/v1/orders/{id}/items/{item_id}/cancel", response_model=bodies.OrderItem)
async def cancel_item(
    request: Request,
    caller: Customer,
    key: IdempotencyKey,
    version: IfMatch,
    moves: Moves,
    id: Id,  # noqa: A002 - the name in the path
    item_id: Id,
    body: bodies.CancelItem,
) -> Response:
    """The customer does not want an item that nobody has begun to pack; its money goes back."""
    command = MoveItem(
        order_id=id,
        item_id=item_id,
        new_status=ItemStatus.CANCELLED,
        actor=Actor("customer", caller.subject),
        reason=body.reason,
        version=version,
    )
    answer = await moves.submit(Moving(await idempotency.request_of(request, caller, key), command))
    return idempotency.respond(answer)
