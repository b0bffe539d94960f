"""Items over HTTP, for the vendors who pack them and the admins who help."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from contracts.event import NIL
from contracts.http import Id
from contracts.http import orders as bodies
from contracts.orders import ItemStatus as StatusName
from services.chassis import idempotency
from services.chassis.auth import Principal, require
from services.chassis.errors import FieldError, Problem
from services.chassis.http import Db, IdempotencyKey, IfMatch
from services.orders.api.moves import Moves, Moving
from services.orders.api.pages import After, Limit, cursor_of, position_of
from services.orders.api.views import vendor_item_view
from services.orders.domain import Actor, ItemStatus, MoveItem
from services.orders.store import reading

router = APIRouter()
Vendor = Annotated[Principal, Depends(require("vendor"))]
VendorOrAdmin = Annotated[Principal, Depends(require("vendor", "admin"))]
LISTING = "vendor items"


@router.get("/v1/vendor/items")
async def list_items(
    db: Db, caller: Vendor, status: StatusName | None = None, limit: Limit = 20, after: After = None
) -> bodies.VendorItemPage:
    """The vendor's items, newest first, all or those in one status."""
    assert caller.vendor_id is not None, "a vendor's token names the vendor"
    statuses = [status] if status else [one.value for one in ItemStatus]
    position = position_of(after, LISTING, caller.vendor_id)
    async with db.transaction() as tx:
        found = await reading.list_vendor_items(tx, caller.vendor_id, statuses, position, limit + 1)
    shown, more = found[:limit], len(found) > limit
    following = cursor_of(shown[-1].item.id, LISTING, caller.vendor_id) if more else None
    data = [vendor_item_view(one, _actor(caller)) for one in shown]
    return bodies.VendorItemPage(data=data, next=following, has_more=more)


@router.post("/v1/vendor/items/{id}/status", response_model=bodies.VendorItem)
async def change_status(
    request: Request,
    caller: VendorOrAdmin,
    key: IdempotencyKey,
    version: IfMatch,
    moves: Moves,
    id: Id,  # noqa: A002 - the name in the path
    body: bodies.ChangeItemStatus,
) -> Response:
    """One step of one item. Accepted means the step is taken; the order's own status follows by itself."""
    if body.new_status == "cancelled" and not body.reason:
        errors = [FieldError("/reason", "MISSING", "A cancellation needs a reason.")]
        raise Problem(422, "VALIDATION_FAILED", errors=errors)
    command = MoveItem(
        order_id=NIL,
        item_id=id,
        new_status=ItemStatus(body.new_status),
        actor=_actor(caller),
        reason=body.reason or "",
        version=version,
        collected_paisa=body.collected_paisa,
        collector=body.collector,
        proof_ref=body.proof_ref,
    )
    answer = await moves.submit(Moving(await idempotency.request_of(request, caller, key), command))
    return idempotency.respond(answer)


def _actor(caller: Principal) -> Actor:
    """An admin's word counts more than a vendor's, so who is both acts as admin."""
    if "admin" in caller.roles:
        return Actor("admin", caller.subject)
    return Actor("vendor", caller.subject, caller.vendor_id)
