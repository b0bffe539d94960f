"""The payer's side: what is to be paid, how, and another try."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from contracts.http import Id
from contracts.http.payments import Attempt, CurrentAttempt, Intent, IntentState, NewAttempt, Redirect
from services.chassis.auth import Caller, Principal, require
from services.chassis.coalesce import Member
from services.chassis.db import Database, Tx
from services.chassis.decisions import Changed, Refused
from services.chassis.errors import Problem
from services.chassis.http import Db, IdempotencyKey, coalescer_of
from services.chassis.idempotency import Answer, once, request_of, respond
from services.payments import actions, domain, gateways
from services.payments.actions.settling import Seen, seen
from services.payments.domain import AttemptStatus, IntentStatus, RefundStatus
from services.payments.gateways import Gateways
from services.payments.providers import Answer as GatewayAnswer
from services.payments.providers import Asked
from services.payments.store import attempts, intents, views
from services.payments.store.attempts import Question
from services.payments.verdicts import Unknown

router = APIRouter()

Customer = Annotated[Principal, Depends(require("customer"))]
ASK_WITHIN_S: Final = 2.0
EVERYBODYS: Final = frozenset({"service", "admin", "support"})
CLOSED = frozenset(
    {AttemptStatus.LAPSED, AttemptStatus.CLOSED, AttemptStatus.MISMATCHED, AttemptStatus.REVERSED}
)


@router.get("/internal/intents/{subject_id}", response_model=Intent)
async def get_intent(request: Request, caller: Caller, subject_id: Id) -> Response:
    """What is to be paid and how; 404 while we have not heard of it, or when it is not the caller's."""
    intent, now = await coalescer_of(request, read_many).submit(subject_id)
    if intent.amount_paisa is None or not _may_see(caller, intent):
        raise Problem(404, "NOT_FOUND")
    shown = _shown(intent, now, gateways.in_use())
    return Response(shown.model_dump_json(), media_type="application/json")


async def read_many(
    db: Database, members: Sequence[Member[UUID]]
) -> Sequence[tuple[domain.Intent, datetime] | Exception]:
    """All these intents at once, each with the time of the look; 404 for those we have not heard of."""
    async with db.transaction() as tx:
        found = await intents.read_intents(tx, [one.item for one in members])
        now = await tx.now()
    return [(found[one.item], now) if one.item in found else Problem(404, "NOT_FOUND") for one in members]


def _may_see(caller: Principal, intent: domain.Intent) -> bool:
    return bool(caller.roles & EVERYBODYS) or caller.subject == intent.customer_id


def _shown(intent: domain.Intent, now: datetime, in_use: Gateways) -> Intent:
    assert intent.amount_paisa is not None
    assert intent.pay_by is not None
    assert intent.customer_id is not None
    newest = intent.attempts[-1]
    payable = intent.status is IntentStatus.AWAITING_PAYMENT and now < min(intent.pay_by, newest.expires_at)
    attempt = CurrentAttempt(
        id=newest.id,
        provider=newest.provider,
        state=_attempt_state(newest, now),
        redirect=redirect_of(newest, in_use) if payable and newest.status is AttemptStatus.OPEN else None,
    )
    return Intent(
        id=intent.subject_id,
        subject_id=intent.subject_id,
        customer_id=intent.customer_id,
        state=_intent_state(intent),
        amount_paisa=intent.amount_paisa,
        pay_by=intent.pay_by,
        attempt=attempt,
    )


def _attempt_state(attempt: domain.Attempt, now: datetime) -> str:
    if attempt.status is AttemptStatus.DECLINED:
        return "failed"
    over = attempt.status is AttemptStatus.OPEN and now >= attempt.expires_at
    return "closed" if over or attempt.status in CLOSED else "open"


def _intent_state(intent: domain.Intent) -> IntentState:
    given = sum(one.amount_paisa for one in intent.refunds if one.status is RefundStatus.SUCCEEDED)
    due = any(one.status is RefundStatus.MANUAL_PENDING for one in intent.refunds)
    if any(case.open and case.reason != "unanswered" for case in intent.cases):
        return "under_review"
    match intent.status:
        case IntentStatus.AWAITING_PAYMENT:
            return "open"
        case IntentStatus.EXPIRED:
            return "expired"
        case IntentStatus.SUCCEEDED:
            left = domain.outstanding_paisa(intent)
            return "succeeded" if not given else "partially_refunded" if left else "refunded"
        case IntentStatus.CANCELLED:
            return "refund_due" if due else "refunded" if given else "cancelled"


def redirect_of(attempt: domain.Attempt, in_use: Gateways) -> Redirect:
    """Where the payer's browser goes with this attempt."""
    asked = Asked(attempt.reference, attempt.merchant_code, attempt.amount_paisa)
    form = in_use.adapters[attempt.provider].open(asked)
    return Redirect(method=form.method, url=form.url, fields=dict(form.fields))


@router.post("/v1/checkouts/{id}/attempts", status_code=201, response_model=Attempt)
async def pay_again(
    request: Request,
    db: Db,
    caller: Customer,
    key: IdempotencyKey,
    id: Id,  # noqa: A002 - the name in the path
    body: NewAttempt,
) -> Response:
    """Another try; every earlier one is asked about first, so that nobody pays twice if we can help it."""
    in_use = gateways.in_use()
    if body.provider not in in_use.adapters:
        raise Problem(422, "PAYMENT_METHOD_UNAVAILABLE", f"{body.provider} is not offered.")
    await _ask_about_earlier(db, id, caller.subject, in_use)

    async def work(tx: Tx) -> Answer:
        verdicts = await actions.open_another(tx, id, body.provider, in_use)
        match verdicts.outcomes[0]:
            case Changed(intent):
                return Answer(201, _new_attempt(intent, in_use).model_dump(mode="json"))
            case Refused(code, detail):
                raise Problem(409, code, detail)
            case other:
                raise AssertionError(other)

    return respond(await once(db, await request_of(request, caller, key), work))


def _new_attempt(intent: domain.Intent, in_use: Gateways) -> Attempt:
    newest = intent.attempts[-1]
    assert intent.pay_by is not None
    return Attempt(
        id=newest.id,
        checkout_id=intent.subject_id,
        provider=newest.provider,
        amount_paisa=newest.amount_paisa,
        pay_by=intent.pay_by,
        redirect=redirect_of(newest, in_use),
    )


async def _ask_about_earlier(db: Database, subject_id: UUID, customer_id: UUID, in_use: Gateways) -> None:
    """Read, ask with no transaction open, settle; 404 when this customer has nothing to pay there."""
    async with db.transaction() as tx:
        if await views.read_owner(tx, subject_id) != customer_id:
            raise Problem(404, "NOT_FOUND")
        questions = await attempts.read_unsettled(tx, subject_id, not_since_s=in_use.plan.return_gap)
    if not questions:
        return
    answers = await asyncio.gather(*(ask(question, in_use) for question in questions))
    async with db.transaction() as tx:
        await actions.settle(tx, answers, in_use.plan)


async def ask(question: Question, in_use: Gateways) -> Seen:
    """One lookup, outside any transaction; a caller who waits hears within two seconds in any case."""
    try:
        async with asyncio.timeout(ASK_WITHIN_S):
            answer = await in_use.adapters[question.provider].check(question.asked)
    except TimeoutError:
        answer = GatewayAnswer(Unknown("no answer while the caller waited"), None, "", b"")
    return seen(question.subject_id, question.attempt_id, question.provider, answer)
