"""The way back from a gateway: a hint that brings a question, whatever it carries."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request

from contracts.http.payments import Returned
from services.chassis.db import Database
from services.chassis.errors import Problem
from services.chassis.http import Db
from services.payments import actions, gateways
from services.payments.actions.windows import returned
from services.payments.store import attempts
from services.payments.store.attempts import Question

router = APIRouter()

REFERENCE_LENGTH: Final = 32
MOST_DATA: Final = 8192


@router.get("/v1/payments/return/{provider}/{reference}")
async def come_back(
    request: Request, db: Db, provider: str, reference: str, data: Annotated[str | None, Query()] = None
) -> Returned:
    """Noted; the poller asks at once. A wrong reference is 404, a wrong payload is nobody's business."""
    question = await _attempt(db, provider, reference)
    if question is None:
        raise Problem(404, "NOT_FOUND")
    in_use = gateways.in_use()
    data = data[:MOST_DATA] if data else None
    hint = in_use.adapters[question.provider].parse_return(question.asked, data)
    back = returned(question.subject_id, question.attempt_id, hint, data)
    async with db.transaction() as tx:
        verdicts = await actions.hear_returns(tx, [back], in_use.plan)
    if verdicts.changed:
        request.app.state.runtime.wake.set()
    return Returned(subject_id=question.subject_id)


async def _attempt(db: Database, provider: str, reference: str) -> Question | None:
    if len(reference) != REFERENCE_LENGTH or not reference.isascii():
        return None
    async with db.transaction() as tx:
        return await attempts.find_by_reference(tx, provider, reference)
