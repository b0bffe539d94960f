"""Checkouts over HTTP: placed many at once, looked at, cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from contracts.event import Envelope
from contracts.http import Id
from contracts.http import orders as bodies
from services.chassis import idempotency
from services.chassis.auth import Principal, require
from services.chassis.coalesce import Coalescer, Member
from services.chassis.db import Database, Tx
from services.chassis.decisions import Refused
from services.chassis.errors import FieldError, Problem
from services.chassis.http import STRONG_TAG, Db, IdempotencyKey, etag, is_fresh, not_modified, settings_of
from services.chassis.idempotency import Answer, Fresh, Replay
from services.chassis.ids import new_id
from services.chassis.telemetry import current_traceparent
from services.orders.actions import checkout as actions
from services.orders.addresses import Addresses
from services.orders.api.views import checkout_view, problem_of, unless_refused
from services.orders.domain import Actor, CancelCheckout, PlaceCheckout
from services.orders.store import reading

router = APIRouter()
Customer = Annotated[Principal, Depends(require("customer"))]


@dataclass(frozen=True, slots=True)
class Placing:
    """One `POST /v1/checkouts`: the request as idempotency knows it, and what it asks for."""

    request: idempotency.Request
    command: PlaceCheckout


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of it: the checkout's id, or the refusal it was answered with."""

    answer: Answer


async def _coalescer(request: Request) -> Coalescer[Placing, Placed]:
    """One for all requests of this process: those in flight share a transaction."""
    state = request.app.state
    if not hasattr(state, "placing"):
        state.placing = Coalescer(partial(place_many, state.db))
    coalescer: Coalescer[Placing, Placed] = state.placing
    return coalescer


@router.post("/v1/checkouts", status_code=201, response_model=bodies.Checkout)
async def place(
    request: Request,
    db: Db,
    caller: Customer,
    key: IdempotencyKey,
    coalescer: Annotated[Coalescer[Placing, Placed], Depends(_coalescer)],
    body: bodies.NewCheckout,
) -> Response:
    """What is in the cart becomes a checkout; a request sent again gets its present state."""
    if body.payment_method != "esewa":
        errors = [FieldError("/payment_method", "PAYMENT_METHOD_UNAVAILABLE", "Only esewa for now.")]
        raise Problem(422, "PAYMENT_METHOD_UNAVAILABLE", errors=errors)
    placing = Placing(await idempotency.request_of(request, caller, key), _command(request, caller, body))
    placed = await coalescer.submit(placing)
    if "id" not in placed.answer.body:
        return idempotency.respond(placed.answer)
    return await _placed(db, caller, placed.answer)


def _command(request: Request, caller: Principal, body: bodies.NewCheckout) -> PlaceCheckout:
    addresses: Addresses = request.app.state.addresses
    order_id = new_id()
    return PlaceCheckout(
        order_id=order_id,
        customer_id=caller.subject,
        method=body.payment_method,
        pay_within_s=settings_of(request).pay_within_s,
        address=addresses.seal(order_id, body.shipping_address.model_dump(exclude_none=True)),
    )


async def place_many(db: Database, members: Sequence[Member[Placing]]) -> Sequence[Placed | Exception]:
    """All these requests in one transaction: claimed, placed and remembered together."""
    async with db.transaction() as tx:
        claims = await idempotency.claim(tx, [one.item.request for one in members])
        fresh = [one for one, claimed in zip(members, claims, strict=True) if isinstance(claimed, Fresh)]
        answers = await _place(tx, fresh)
        await idempotency.remember(tx, [(one.item.request, answers[id(one)]) for one in fresh])
    outcomes: list[Placed | Exception] = []
    for one, claimed in zip(members, claims, strict=True):
        match claimed:
            case Fresh():
                outcomes.append(Placed(answers[id(one)]))
            case Replay():
                outcomes.append(Placed(claimed.answer))
            case _:
                outcomes.append(idempotency.refusal_of(claimed))
    return outcomes


async def _place(tx: Tx, fresh: Sequence[Member[Placing]]) -> dict[int, Answer]:
    """The answer to each new request; a refused one has changed nothing, so the others go on."""
    if not fresh:
        return {}
    commands = [_traced(one) for one in fresh]
    verdicts = await actions.place_checkouts(tx, commands)
    answers: dict[int, Answer] = {}
    for one, command, outcome in zip(fresh, commands, verdicts.outcomes, strict=True):
        if isinstance(outcome, Refused):
            answers[id(one)] = idempotency.refusal_answer(problem_of(outcome), one.item.request.route)
        else:
            answers[id(one)] = Answer(201, {"id": str(command.order_id)})
    return answers


def _traced(member: Member[Placing]) -> PlaceCheckout:
    command = member.item.command
    return PlaceCheckout(
        command.order_id,
        command.customer_id,
        command.method,
        command.pay_within_s,
        command.address,
        envelope=Envelope(traceparent=member.traceparent),
    )


async def _placed(db: Database, caller: Principal, answer: Answer) -> Response:
    """The checkout as it is now: stored is only its id."""
    order_id = UUID(answer.body["id"])
    view = await _view(db, order_id, caller)
    headers = {"Location": f"/v1/checkouts/{order_id}", "ETag": etag(view.version)}
    body: dict[str, Any] = view.model_dump(mode="json")
    return idempotency.respond(Answer(201, body, headers, replayed=answer.replayed))


@router.get("/v1/checkouts/{id}", response_model=bodies.Checkout)
async def get_checkout(request: Request, response: Response, db: Db, caller: Customer, id: Id) -> Any:  # noqa: A002, ANN401 - a view or 304
    """Where the checkout stands."""
    view = await _view(db, id, caller)
    if is_fresh(request, view.version):
        return not_modified(view.version)
    response.headers["ETag"] = etag(view.version)
    return view


async def _seen_version(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """Giving up needs no version, but one that is given is held to."""
    tag = STRONG_TAG.fullmatch((if_match or "").strip())
    if if_match is not None and tag is None:
        raise Problem(400, "INVALID_IF_MATCH")
    return int(tag[1]) if tag else None


@router.post("/v1/checkouts/{id}/cancel")
async def cancel(
    request: Request,
    response: Response,
    db: Db,
    caller: Customer,
    id: Id,  # noqa: A002 - the name in the path
    version: Annotated[int | None, Depends(_seen_version)],
) -> bodies.Checkout:
    """Give up; its lines go back to the cart. Once cancelled, asking again changes nothing."""
    command = CancelCheckout(
        id, Actor("customer", caller.subject), version, Envelope(traceparent=current_traceparent())
    )
    async with db.transaction(lock_timeout_ms=settings_of(request).lock_wait_ms) as tx:
        unless_refused((await actions.cancel(tx, [command])).outcomes[0])
    view = await _view(db, id, caller)
    response.headers["ETag"] = etag(view.version)
    return view


async def _view(db: Database, order_id: UUID, caller: Principal) -> bodies.Checkout:
    async with db.transaction() as tx:
        seen = await reading.read_checkout(tx, order_id, caller.subject)
    if seen is None:
        raise Problem(404, "NOT_FOUND")
    return checkout_view(seen.checkout, seen.placed_at, seen.updated_at)
