"""Checkouts: the POST is held until there is something to say, and every view knows how to pay."""

from asyncio import get_running_loop
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from contracts.http import Id
from contracts.http.gateway import CheckoutView, PaymentView
from contracts.http.orders import Checkout, NewCheckout
from contracts.http.payments import Intent
from services.chassis.auth import Principal
from services.chassis.errors import FieldError, Problem
from services.chassis.http import IdempotencyKey, etag, is_fresh, not_modified
from services.gateway.api.admission import PROBLEMS, SIGNED_IN, admit
from services.gateway.api.forwards import CUSTOMER
from services.gateway.live import Live, Told, Woken
from services.gateway.upstreams import Upstreams, parse

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Customer = Annotated[Principal, Depends(admit(*CUSTOMER))]

FINAL: Final = frozenset({"rejected", "confirmed", "payment_failed", "expired", "cancelled", "refunded"})
PAYABLE: Final = frozenset({"awaiting_payment"})
ASK_AGAIN_S: Final = "1"
REPLAYED: Final = "idempotency-replayed"


@router.post(
    "/checkouts",
    status_code=201,
    response_model=CheckoutView,
    responses={202: {"model": CheckoutView, "description": "Still reserving: ask the Location"}},
    openapi_extra=SIGNED_IN,
    operation_id="post_checkouts",
)
async def check_out(
    request: Request,
    body: NewCheckout,  # noqa: ARG001 - checked here, sent on as it came
    _: Customer,
    key: IdempotencyKey,  # noqa: ARG001 - likewise
) -> Response:
    """Check out what is in the cart. Answers with the redirect to pay, or with a clear refusal, in one call.

    409 `CHECKOUT_REJECTED` names the lines that cannot be had. After 3 s without a word it is 202.
    """
    upstreams: Upstreams = request.app.state.upstreams
    reply = await upstreams.call(
        "orders", "POST", "/v1/checkouts", headers=request.headers, body=await request.body()
    )
    placed = parse(reply, Checkout)
    if REPLAYED in reply.headers:
        request.scope["answer_headers"]["Idempotency-Replayed"] = reply.headers[REPLAYED]
    return _created(await _hold(request, placed))


async def _hold(request: Request, placed: Checkout) -> CheckoutView:
    """Wait until the checkout has left `reserving` and, if it is to be paid, an attempt is open or failed.

    What was told since the POST is known from the hints, so the owner is asked once there is something to
    see, or when it has been silent; without hints at once and again and again.
    """
    live: Live = request.app.state.live
    clock = get_running_loop().time
    until = clock() + request.app.state.settings.hold_s
    with live.watch(placed.id) as watch:
        look = placed.stage != "reserving" or not live.hears
        while True:
            if look or _is_worth_a_look(watch.told):
                view = await view_of(request, placed.id)
                if _settled(view):
                    return view
            woken = await watch.wait(until - clock())
            if woken is Woken.OVER:
                return await view_of(request, placed.id)
            look = woken is Woken.SILENCE


def _is_worth_a_look(told: Told) -> bool:
    if told.stage in PAYABLE:
        return told.is_opened
    return told.stage not in {"", "reserving"}


def _settled(view: CheckoutView) -> bool:
    if view.stage in PAYABLE:
        return view.payment.redirect is not None or view.payment.retry is not None
    return view.stage != "reserving"


def _created(view: CheckoutView) -> Response:
    if view.stage == "rejected":
        raise rejected(view)
    if view.stage in PAYABLE and view.payment.redirect is None:
        payment = view.payment.model_copy(update={"retry": retry_path(view.id)})
        view = view.model_copy(update={"payment": payment})
    status = HTTPStatus.ACCEPTED if view.stage == "reserving" else HTTPStatus.CREATED
    return _answer(view, status, {"Location": f"/v1/checkouts/{view.id}"})


def rejected(checkout: Checkout) -> Problem:
    """409: nothing is held; why, line by line."""
    errors = [
        FieldError(f"/cart/items/{one.sku}", one.code, "This line cannot be had.")
        for one in checkout.refusals
    ]
    return Problem(409, "CHECKOUT_REJECTED", errors=errors, extra={"checkout_id": str(checkout.id)})


@router.get(
    "/checkouts/{id}",
    response_model=CheckoutView,
    responses={304: {"description": "Not changed since the ETag in If-None-Match"}},
    openapi_extra=SIGNED_IN,
    operation_id="get_checkouts_id",
)
async def get_checkout(
    request: Request,
    id: Id,  # noqa: A002 - the name in the path
    _: Customer,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Where the checkout stands; ask again after `Retry-After` while it is not final."""
    view = await view_of(request, id)
    # An attempt that opens does not change the version, so its redirect must not hide behind a 304.
    waiting = view.stage in PAYABLE and view.payment.redirect is None
    if if_none_match is not None and not waiting and is_fresh(request, view.version):
        return not_modified(view.version)
    return _answer(view, HTTPStatus.OK, {})


@router.post(
    "/checkouts/{id}/cancel",
    response_model=CheckoutView,
    openapi_extra=SIGNED_IN,
    operation_id="post_checkouts_id_cancel",
)
async def cancel(
    request: Request,
    id: Id,  # noqa: A002 - the name in the path
    _: Customer,
    if_match: Annotated[str | None, Header()] = None,  # noqa: ARG001 - documented here, sent on as it came
) -> Response:
    """End the checkout: its lines go back to the cart, and money that still comes goes back."""
    upstreams: Upstreams = request.app.state.upstreams
    path = f"/v1/checkouts/{id}/cancel"
    reply = await upstreams.call("orders", "POST", path, headers=request.headers, body=await request.body())
    return _answer(with_payment(parse(reply, Checkout), None), HTTPStatus.OK, {})


async def view_of(request: Request, order_id: UUID) -> CheckoutView:
    """The checkout from its owner, with the way to pay it while it can be paid; 404 when it is not yours."""
    upstreams: Upstreams = request.app.state.upstreams
    checkout = await upstreams.get("orders", f"/v1/checkouts/{order_id}", Checkout, _who(request))
    if checkout.stage not in PAYABLE:
        return with_payment(checkout, None)
    return with_payment(checkout, await _intent_of(upstreams, order_id, _who(request)))


async def _intent_of(upstreams: Upstreams, order_id: UUID, who: dict[str, str]) -> Intent | None:
    """None while payments has not heard of the hold, or does not answer: the checkout stands all the same."""
    try:
        return await upstreams.get("payments", f"/internal/intents/{order_id}", Intent, who)
    except Problem as problem:
        if problem.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise
        return None


def _who(request: Request) -> dict[str, str]:
    """Only the token: a read behind the scenes is not the caller's POST with its key and body."""
    return {"authorization": request.headers["authorization"]}


def with_payment(checkout: Checkout, intent: Intent | None) -> CheckoutView:
    """The checkout as frontends see it."""
    attempt = intent.attempt if intent else None
    payment = PaymentView(
        method=checkout.method,
        redirect=attempt.redirect if attempt and attempt.state == "open" else None,
        retry=retry_path(checkout.id) if attempt and attempt.state in {"failed", "closed"} else None,
    )
    # What was checked when it was read is not checked again.
    return CheckoutView.model_construct(payment=payment, **dict(checkout))


def retry_path(order_id: UUID) -> str:
    """Where another attempt to pay is asked for."""
    return f"/v1/checkouts/{order_id}/attempts"


def _answer(view: CheckoutView, status: int, headers: dict[str, str]) -> Response:
    tagged = headers | {"ETag": etag(view.version), "Cache-Control": "no-store"}
    if view.stage not in FINAL:
        tagged["Retry-After"] = ASK_AGAIN_S
    return Response(view.model_dump_json(exclude_none=False), status, tagged, "application/json")
