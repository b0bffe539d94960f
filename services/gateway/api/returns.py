"""The way back from a payment provider: a hint that is passed on, and a neutral page; nothing is decided."""

from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from contracts.http.gateway import ReturnView
from contracts.http.payments import Returned
from services.gateway.api.admission import ANYONE, PROBLEMS, admit_return
from services.gateway.api.forwards import Segment
from services.gateway.upstreams import Upstreams, parse

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=[Depends(admit_return)])


@router.get(
    "/payments/return/{provider}/{reference}",
    status_code=303,
    response_class=Response,
    responses={202: {"model": ReturnView}, 303: {"description": "See the status page"}},
    openapi_extra=ANYONE,
    operation_id="get_payments_return",
)
async def come_back(request: Request, provider: Segment, reference: Segment) -> Response:
    """Where a provider sends the payer's browser; 404 for an unknown reference, and nothing more."""
    upstreams: Upstreams = request.app.state.upstreams
    path = f"/v1/payments/return/{quote(provider, safe='')}/{quote(reference, safe='')}"
    reply = await upstreams.call(
        "payments", "GET", path, headers={}, query=request.query_params.multi_items()[:10]
    )
    returned = parse(reply, Returned)
    page = request.app.state.settings.status_page.format(id=returned.subject_id)
    if "application/json" in request.headers.get("accept", ""):
        body = ReturnView(status_url=page).model_dump_json()
        return Response(body, 202, {"Location": page}, "application/json")
    return RedirectResponse(page, 303)
