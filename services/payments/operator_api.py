"""What operators may do to payments: tell one again that orders seems to have missed."""

from typing import Annotated

from fastapi import APIRouter, Depends

from contracts.event import Envelope
from contracts.http import old_data as bodies
from services.chassis import operator_log
from services.chassis.auth import Principal, require
from services.chassis.decisions import Refused
from services.chassis.http import Db
from services.chassis.operator_log import Action
from services.chassis.telemetry import current_traceparent
from services.payments import actions, domain

router = APIRouter(prefix="/internal/operator")
Operator = Annotated[Principal, Depends(require("operator", "admin"))]


@router.post("/intents/tell-again")
async def tell_again(db: Db, caller: Operator, body: bodies.TellAgain) -> bodies.Told:
    """These payments once more with a new event id; refused is what is not paid, or answered already."""
    here = Envelope(traceparent=current_traceparent())
    commands = [domain.TellAgain(one, here) for one in dict.fromkeys(body.ids)]
    async with db.transaction() as tx:
        outcomes = (await actions.tell_again(tx, commands)).outcomes
        decided = dict(zip((one.key for one in commands), outcomes, strict=True))
        refused = {key: one.detail for key, one in decided.items() if isinstance(one, Refused)}
        told = [key for key in decided if key not in refused]
        done = [Action(caller.subject, "intent.tell_again", str(one), body.reason) for one in told]
        await operator_log.record_all(tx, done)
    return bodies.Told(told=told, refused=refused)
