"""The search for orders over HTTP, for those who help customers."""

from typing import Annotated

from fastapi import APIRouter, Depends

from contracts.http import Id
from contracts.http.orders import OrderPage
from contracts.orders import CheckoutStage, OrderStatus
from services.chassis.auth import Principal, require
from services.chassis.http import Db
from services.orders.api.pages import After, Limit, cursor_of, position_of
from services.orders.api.views import summary_view
from services.orders.store import reading

router = APIRouter()
Staff = Annotated[Principal, Depends(require("admin", "operator", "support", "service"))]
LISTING = "admin orders"


@router.get("/v1/admin/orders")
async def search_orders(
    db: Db,
    caller: Staff,
    customer_id: Id | None = None,
    stage: CheckoutStage | None = None,
    status: OrderStatus | None = None,
    limit: Limit = 20,
    after: After = None,
) -> OrderPage:
    """Checkouts and orders of anybody, newest first, by customer, stage and status."""
    position = position_of(after, LISTING, caller.subject)
    async with db.transaction() as tx:
        found = await reading.search_orders(tx, position, customer_id, stage, status, limit + 1)
    shown, more = found[:limit], len(found) > limit
    following = cursor_of(shown[-1].order_id, LISTING, caller.subject) if more else None
    return OrderPage(data=[summary_view(one) for one in shown], next=following, has_more=more)
