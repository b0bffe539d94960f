"""Checkouts over HTTP: placed many at once, looked at, cancelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from contracts.event import Envelope
from contracts.http import Id
from contracts.http import orders as bodies
from services.chassis import idempotency
from services.chassis.auth import Principal, require
from services.chassis.coalesce import Member
from services.chassis.db import Database, Tx
from services.chassis.decisions import Refused
from services.chassis.errors import FieldError, Problem
from services.chassis.http import (
    STRONG_TAG,
    Db,
    IdempotencyKey,
    check_pressure,
    coalescer_of,
    etag,
    is_fresh,
    not_modified,
    settings_of,
)
from services.chassis.idempotency import Answer, Fresh, Replay
from services.chassis.ids import new_id
from services.chassis.telemetry import current_traceparent
from services.orders.actions import checkout as actions
from services.orders.addresses import Addresses
from services.orders.api.views import checkout_view, problem_of, unless_refused
from services.orders.domain import Actor, CancelCheckout, PlaceCheckout
from services.orders.store import reading
from services.orders.store.reading import CheckoutSeen

router = APIRouter()
Customer = Annotated[Principal, Depends(require("customer"))]


@dataclass(frozen=True, slots=True)
class Placing:
    """One `POST /v1/checkouts`: the request as idempotency knows it, and what it asks for."""

    request: idempotency.Request
    command: PlaceCheckout


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of it: the refusal it was answered with, or the checkout as it is now."""

    answer: Answer
    seen: CheckoutSeen | None = None


@router.post("/v1/checkouts", status_code=201, response_model=bodies.Checkout)
async def place(
    request: Request, caller: Customer, key: IdempotencyKey, body: bodies.NewCheckout
) -> Response:
    """What is in the cart becomes a checkout; a request sent again gets its present state."""
    check_pressure(request)
    if body.payment_method != "esewa":
        errors = [FieldError("/payment_method", "PAYMENT_METHOD_UNAVAILABLE", "Only esewa for now.")]
        raise Problem(422, "PAYMENT_METHOD_UNAVAILABLE", errors=errors)
    placing = Placing(await idempotency.request_of(request, caller, key), _command(request, caller, body))
    placed = await coalescer_of(request, place_many).submit(placing)
    if placed.seen is None:
        return idempotency.respond(placed.answer)
    headers = {"Location": f"/v1/checkouts/{placed.seen.checkout.order_id}"}
    if placed.answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return _answer(placed.seen, HTTPStatus.CREATED, headers)


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
    """All these requests in one transaction: claimed, placed, remembered and read together."""
    async with db.transaction() as tx:
        claims = await idempotency.claim(tx, [one.item.request for one in members])
        fresh = [one for one, claimed in zip(members, claims, strict=True) if isinstance(claimed, Fresh)]
        answers = await _place(tx, fresh)
        await idempotency.remember(tx, [(one.item.request, answers[id(one)]) for one in fresh])
        outcomes = [_outcome(one, claimed, answers) for one, claimed in zip(members, claims, strict=True)]
        return await _with_checkouts(tx, members, outcomes)


def _outcome(
    one: Member[Placing], claimed: idempotency.Claim, answers: Mapping[int, Answer]
) -> Placed | Problem:
    match claimed:
        case Fresh():
            return Placed(answers[id(one)])
        case Replay():
            return Placed(claimed.answer)
        case _:
            return idempotency.refusal_of(claimed)


async def _with_checkouts(
    tx: Tx, members: Sequence[Member[Placing]], outcomes: Sequence[Placed | Problem]
) -> list[Placed | Exception]:
    """Stored is only an id: who placed a checkout, now or earlier, sees it as it is now."""
    asked = [_asked(one, placed) for one, placed in zip(members, outcomes, strict=True)]
    seen = await reading.read_checkouts(tx, [one for one in asked if one is not None])
    return [
        replace(placed, seen=seen[pair]) if isinstance(placed, Placed) and pair is not None else placed
        for placed, pair in zip(outcomes, asked, strict=True)
    ]


def _asked(member: Member[Placing], placed: Placed | Problem) -> tuple[UUID, UUID] | None:
    if isinstance(placed, Problem) or "id" not in placed.answer.body:
        return None
    return UUID(placed.answer.body["id"]), member.item.command.customer_id


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


@router.get("/v1/checkouts/{id}", response_model=bodies.Checkout)
async def get_checkout(request: Request, caller: Customer, id: Id) -> Response:  # noqa: A002 - the name in the path
    """Where the checkout stands."""
    seen = await _seen(request, id, caller)
    if is_fresh(request, seen.checkout.version):
        return not_modified(seen.checkout.version)
    return _answer(seen, HTTPStatus.OK, {})


async def _seen_version(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """Giving up needs no version, but one that is given is held to."""
    tag = STRONG_TAG.fullmatch((if_match or "").strip())
    if if_match is not None and tag is None:
        raise Problem(400, "INVALID_IF_MATCH")
    return int(tag[1]) if tag else None


@router.post("/v1/checkouts/{id}/cancel", response_model=bodies.Checkout)
async def cancel(
    request: Request,
    db: Db,
    caller: Customer,
    id: Id,  # noqa: A002 - the name in the path
    version: Annotated[int | None, Depends(_seen_version)],
) -> Response:
    """Give up; its lines go back to the cart. Once cancelled, asking again changes nothing."""
    command = CancelCheckout(
        id, Actor("customer", caller.subject), version, Envelope(traceparent=current_traceparent())
    )
    async with db.transaction(lock_timeout_ms=settings_of(request).lock_wait_ms) as tx:
        unless_refused((await actions.cancel(tx, [command])).outcomes[0])
    return _answer(await _seen(request, id, caller), HTTPStatus.OK, {})


async def _seen(request: Request, order_id: UUID, caller: Principal) -> CheckoutSeen:
    return await coalescer_of(request, see_many).submit((order_id, caller.subject))


async def see_many(
    db: Database, members: Sequence[Member[tuple[UUID, UUID]]]
) -> Sequence[CheckoutSeen | Exception]:
    """All these `(checkout, customer)` read at once; 404 for whoever asks for what is not theirs."""
    async with db.transaction() as tx:
        seen = await reading.read_checkouts(tx, [one.item for one in members])
    return [seen.get(one.item) or Problem(404, "NOT_FOUND") for one in members]


def _answer(seen: CheckoutSeen, status: HTTPStatus, headers: Mapping[str, str]) -> Response:
    view = checkout_view(seen.checkout, seen.placed_at, seen.updated_at)
    tagged = {**headers, "ETag": etag(view.version)}
    return Response(view.model_dump_json(), status, tagged, "application/json")
