"""The admins' desk: refunds to make and to prove, cases to decide, attempts to verify again."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from contracts.event import Envelope
from contracts.http import Id
from contracts.http.payments import (
    CompleteRefund,
    Refund,
    RefundPage,
    RefundState,
    ReviewCase,
    ReviewCasePage,
    Verified,
)
from services.chassis.auth import Principal, require
from services.chassis.db import Tx
from services.chassis.decisions import Refused, Verdicts
from services.chassis.errors import Problem
from services.chassis.http import Db, IdempotencyKey
from services.chassis.idempotency import Answer, once, request_of, respond
from services.chassis.pages import Limit, cursor_of, position_of
from services.chassis.telemetry import current_traceparent
from services.payments import actions, domain, gateways
from services.payments.api.payers import ask
from services.payments.domain.intent import attempt_of
from services.payments.store import attempts, views

router = APIRouter(prefix="/v1/admin/payments")

Admin = Annotated[Principal, Depends(require("admin"))]
REFUNDS: Final = "refunds"
CASES: Final = "cases"


@router.get("/refunds")
async def list_refunds(
    db: Db, _: Admin, limit: Limit, state: RefundState | None = None, after: str | None = None
) -> RefundPage:
    """Money to send back, and money that is back; newest first."""
    position = position_of(after, of=REFUNDS)
    async with db.transaction() as tx:
        found = await views.refund_page(tx, state, position, limit + 1)
    shown, has_more = found[:limit], len(found) > limit
    following = cursor_of(shown[-1].id, of=REFUNDS) if has_more else None
    return RefundPage(data=shown, next=following, has_more=has_more)


@router.post("/refunds/{id}/complete", response_model=Refund)
async def complete_refund(
    request: Request,
    db: Db,
    caller: Admin,
    key: IdempotencyKey,
    id: Id,  # noqa: A002 - the name in the path
    body: CompleteRefund,
) -> Response:
    """The money is back with its payer, and this proves it."""

    async def work(tx: Tx) -> Answer:
        known = await views.refund(tx, id)
        if known is None:
            raise Problem(404, "NOT_FOUND")
        done = domain.RefundDone(
            known.subject_id, id, body.evidence_ref, body.note, caller.subject, envelope=_here()
        )
        _accept(await actions.complete_refunds(tx, [done]))
        shown = await views.refund(tx, id)
        assert shown is not None
        return Answer(200, shown.model_dump(mode="json"))

    return respond(await once(db, await request_of(request, caller, key), work))


@router.get("/cases")
async def list_cases(
    db: Db,
    _: Admin,
    limit: Limit,
    is_open: Annotated[bool | None, Query(alias="open")] = None,
    after: str | None = None,
) -> ReviewCasePage:
    """What a person must look at; newest first."""
    position = position_of(after, of=CASES)
    async with db.transaction() as tx:
        found = await views.case_page(tx, is_open, position, limit + 1)
    shown, has_more = found[:limit], len(found) > limit
    following = cursor_of(shown[-1].id, of=CASES) if has_more else None
    return ReviewCasePage(data=shown, next=following, has_more=has_more)


Decide = Callable[[Tx, UUID, UUID], Awaitable[Verdicts[Any]]]


@router.post("/cases/{id}/refund", response_model=ReviewCase)
async def refund_case(
    request: Request,
    db: Db,
    caller: Admin,
    key: IdempotencyKey,
    id: Id,  # noqa: A002 - the name in the path
) -> Response:
    """A charge of another amount goes back; its case closes when the refund is proven."""

    async def decide(tx: Tx, subject_id: UUID, charge_id: UUID) -> Verdicts[Any]:
        return await actions.refund_charges(
            tx, [domain.RefundCharge(subject_id, charge_id, envelope=_here())]
        )

    return respond(await once(db, await request_of(request, caller, key), _deciding(id, decide)))


@router.post("/cases/{id}/uphold", response_model=ReviewCase)
async def uphold_case(
    request: Request,
    db: Db,
    caller: Admin,
    key: IdempotencyKey,
    id: Id,  # noqa: A002 - the name in the path
) -> Response:
    """A reversal stands: the money is gone for good."""

    async def decide(tx: Tx, subject_id: UUID, charge_id: UUID) -> Verdicts[Any]:
        return await actions.uphold_reversals(
            tx, [domain.ReversalStands(subject_id, charge_id, envelope=_here())]
        )

    return respond(await once(db, await request_of(request, caller, key), _deciding(id, decide)))


def _deciding(case_id: UUID, decide: Decide) -> Callable[[Tx], Awaitable[Answer]]:
    async def work(tx: Tx) -> Answer:
        found = await views.case(tx, case_id)
        if found is None:
            raise Problem(404, "NOT_FOUND")
        case, charge_id = found
        if charge_id is None:
            raise Problem(409, "INVALID_TRANSITION", "no charge is known that this could be decided about")
        _accept(await decide(tx, case.subject_id, charge_id))
        shown = await views.case(tx, case_id)
        assert shown is not None
        return Answer(200, shown[0].model_dump(mode="json"))

    return work


@router.post("/attempts/{id}/verify")
async def verify_again(db: Db, _: Admin, id: Id) -> Verified:  # noqa: A002 - the name in the path
    """Ask the gateway now, and settle what it says."""
    async with db.transaction() as tx:
        question = await attempts.find_by_id(tx, id)
    if question is None:
        raise Problem(404, "NOT_FOUND")
    in_use = gateways.in_use()
    said = await ask(question, in_use)
    async with db.transaction() as tx:
        verdicts = await actions.settle(tx, [said], in_use.plan)
    attempt = attempt_of(verdicts.changed[question.subject_id], id)
    assert attempt is not None
    return Verified(attempt_id=id, verdict=type(said.answer.verdict).__name__, state=attempt.status)


def _accept(verdicts: Verdicts[Any]) -> None:
    """Raise what the domain refused."""
    match verdicts.outcomes[0]:
        case Refused("NOT_FOUND", detail):
            raise Problem(404, "NOT_FOUND", detail)
        case Refused(code, detail):
            raise Problem(409, code, detail)
        case _:
            return


def _here() -> Envelope:
    return Envelope(traceparent=current_traceparent())
