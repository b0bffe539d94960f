"""What operators may do to orders: look old ones through, repair them, let the roll-up rest, tell again."""

from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Query

from contracts.event import Envelope
from contracts.http import Id
from contracts.http import old_data as bodies
from services.chassis import operator_log
from services.chassis.auth import Principal, require
from services.chassis.db import Tx
from services.chassis.decisions import Refused
from services.chassis.errors import Problem
from services.chassis.http import Db
from services.chassis.operator_log import Action
from services.chassis.telemetry import current_traceparent
from services.orders.actions import old_data as actions
from services.orders.domain import TellAgain
from services.orders.store import old_data

router = APIRouter(prefix="/internal/operator")
Operator = Annotated[Principal, Depends(require("operator", "admin"))]
Page: TypeAlias = Annotated[int, Query(ge=1, le=5_000)]


@router.get("/rollup")
async def get_rollup(db: Db, _: Operator) -> bodies.Rollup:
    """Whether the roll-up works or rests."""
    async with db.transaction() as tx:
        return await _rollup(tx)


@router.post("/rollup/pause")
async def pause_rollup(db: Db, caller: Operator, body: bodies.PauseRollup) -> bodies.Rollup:
    """Let the roll-up rest in every replica; items still move, and what is missed is made up for later."""
    async with db.transaction() as tx:
        await old_data.pause_rollup(tx, timedelta(minutes=body.minutes), body.reason, caller.subject)
        await _log(tx, caller, "rollup.pause", "rollup", body.reason, minutes=body.minutes)
        return await _rollup(tx)


@router.post("/rollup/resume")
async def resume_rollup(db: Db, caller: Operator, body: bodies.ResumeRollup) -> bodies.Rollup:
    """Let it go on; the reconciler finds what was missed, a backfill finds it at once."""
    async with db.transaction() as tx:
        if not await old_data.resume_rollup(tx):
            raise Problem(409, "ROLLUP_RUNNING", "The roll-up is running.")
        await _log(tx, caller, "rollup.resume", "rollup", body.reason)
        return await _rollup(tx)


async def _rollup(tx: Tx) -> bodies.Rollup:
    pause = await old_data.read_pause(tx)
    if pause is None:
        return bodies.Rollup(state="running")
    return bodies.Rollup(
        state="paused", until=pause.until, since=pause.since, by=pause.by, reason=pause.reason
    )


@router.post("/rollup/backfill")
async def backfill_rollup(db: Db, caller: Operator, body: bodies.LookThrough) -> bodies.LookedThrough:
    """Look the next orders through, and repair those whose status is not what their items say."""
    async with db.transaction() as tx:
        if not body.dry_run and await old_data.is_rollup_paused(tx):
            raise Problem(409, "ROLLUP_PAUSED", "The roll-up rests: resume it first, or look only (dry_run).")
        looked = await actions.look_through(
            tx, body.after or old_data.FIRST, body.limit, repair=not body.dry_run, envelope=_here()
        )
        if looked.repaired:
            await _log(
                tx, caller, "rollup.backfill", str(body.after or "all"), body.reason, repaired=looked.repaired
            )
    return bodies.LookedThrough(
        examined=looked.examined,
        out_of_step=[
            bodies.OutOfStep(order_id=one.order_id, status=one.status.value, should_be=one.should_be.value)
            for one in looked.out_of_step
        ],
        empty=list(looked.empty),
        repaired=looked.repaired,
        next=looked.next,
    )


@router.get("/reports/empty-orders")
async def report_empty_orders(
    db: Db, _: Operator, after: Id | None = None, limit: Page = 5_000
) -> bodies.EmptyOrderPage:
    """Orders without items among the next `limit`; nothing is done to them."""
    async with db.transaction() as tx:
        found, examined, following = await old_data.empty_orders(tx, after or old_data.FIRST, limit)
    data = [
        bodies.EmptyOrder.model_validate(
            {
                "order_id": one.order_id,
                "order_number": one.order_number,
                "status": one.status,
                "created_at": one.created_at,
            }
        )
        for one in found
    ]
    return bodies.EmptyOrderPage(data=data, examined=examined, next=following)


@router.post("/orders/tell-again")
async def tell_again(db: Db, caller: Operator, body: bodies.TellAgain) -> bodies.Told:
    """How these checkouts ended, told once more with a new event id, for a service that missed it."""
    commands = [TellAgain(one, _here()) for one in dict.fromkeys(body.ids)]
    async with db.transaction() as tx:
        outcomes = await actions.tell_again(tx, commands)
        refused = {key: one.detail for key, one in outcomes.items() if isinstance(one, Refused)}
        told = [key for key in outcomes if key not in refused]
        done = [Action(caller.subject, "order.tell_again", str(one), body.reason) for one in told]
        await operator_log.record_all(tx, done)
    return bodies.Told(told=told, refused=refused)


async def _log(tx: Tx, caller: Principal, action: str, subject: str, reason: str, **detail: Any) -> None:  # noqa: ANN401
    await operator_log.record(tx, Action(caller.subject, action, subject, reason, detail))


def _here() -> Envelope:
    return Envelope(traceparent=current_traceparent())
