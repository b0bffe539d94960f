"""Reconcilers over HTTP, for operators: look, run once, say what a run would do, pause, resume."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from services.chassis import operator_log, reconciler_runs
from services.chassis.auth import Principal, require
from services.chassis.db import Tx
from services.chassis.errors import Problem
from services.chassis.http import Db
from services.chassis.operator_log import Action
from services.chassis.reconciler import Outcome, Ran, Reconciler, Skipped, attempt, count, dry_run
from services.chassis.reconciler_runs import LONGEST_PAUSE_S

router = APIRouter(prefix="/internal/operator/reconcilers", include_in_schema=False)
Operator = Annotated[Principal, Depends(require("operator", "admin"))]
Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
SHOWN_NAMES: Final = 40


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Run(_Body):
    """Run it now, paused or not; a dry run changes nothing and needs no reason."""

    dry_run: bool = False
    reason: Reason | None = None


class Pause(_Body):
    """For so many seconds, at most a day: nothing may stop healing for ever."""

    for_s: Annotated[int, Field(ge=1, le=LONGEST_PAUSE_S)]
    reason: Reason


class Resume(_Body):
    """End the pause."""

    reason: Reason


def _duty(request: Request, name: str) -> Reconciler:
    duties: Mapping[str, Reconciler] = request.app.state.duties
    if name not in duties:
        known = ", ".join(sorted(duties)[:SHOWN_NAMES])
        raise Problem(404, "NOT_FOUND", f"This service has no such reconciler; it has: {known}.")
    return duties[name]


@router.get("")
async def list_reconcilers(request: Request, db: Db, _: Operator) -> dict[str, Any]:
    """All of this service: last run, last finding, next run, and the pause with who and why."""
    duties: Mapping[str, Reconciler] = request.app.state.duties
    async with db.transaction() as tx:
        found = await reconciler_runs.statuses(tx, [(one.name, one.every_s) for one in duties.values()])
    return {"data": [asdict(one) | {"alarm": duties[one.name].alarm is not None} for one in found]}


@router.post("/{name}/run")
async def run(request: Request, db: Db, name: str, caller: Operator, body: Run) -> dict[str, Any]:
    """Run it once; 409 when another process is at it, or when topics that it waits for are not read."""
    duty = _duty(request, name)
    if body.dry_run:
        return _answer(await dry_run(duty, db, request.app.state.caught_up), dry=True)
    if body.reason is None:
        raise Problem(422, "VALIDATION_FAILED", "A run by hand needs a reason; a dry run does not.")
    done = Action(caller.subject, "reconciler.run", duty.name, body.reason)

    async def write_down(tx: Tx, found: int) -> None:
        await operator_log.record(tx, _with(done, found=found))

    outcome = await attempt(duty, db, request.app.state.caught_up, also=write_down)
    count(duty, outcome)
    return _answer(outcome, dry=False)


@router.post("/{name}/pause")
async def pause(request: Request, db: Db, name: str, caller: Operator, body: Pause) -> dict[str, Any]:
    """Pause it in every process; a run that has begun is over when this is answered."""
    duty = _duty(request, name)
    done = Action(caller.subject, "reconciler.pause", duty.name, body.reason)
    async with db.transaction() as tx:
        until = await reconciler_runs.pause(tx, duty.name, body.for_s, caller.subject, body.reason)
        await operator_log.record(tx, _with(done, for_s=body.for_s))
    return {"name": duty.name, "paused_until": until}


@router.post("/{name}/resume")
async def resume(request: Request, db: Db, name: str, caller: Operator, body: Resume) -> dict[str, Any]:
    """End its pause; every process takes part again within one of its rounds."""
    duty = _duty(request, name)
    async with db.transaction() as tx:
        if not await reconciler_runs.resume(tx, duty.name):
            raise Problem(409, "NOT_PAUSED", f"{duty.name} is not paused.")
        await operator_log.record(tx, Action(caller.subject, "reconciler.resume", duty.name, body.reason))
    return {"name": duty.name}


def _with(action: Action, **detail: object) -> Action:
    return Action(action.actor, action.action, action.subject, action.reason, detail)


def _answer(outcome: Outcome, *, dry: bool) -> dict[str, Any]:
    match outcome:
        case Ran():
            tells = [{"topic": topic, "key": key} for topic, key in outcome.tells]
            return {"dry_run": dry, "found": outcome.found, "tells": tells}
        case Skipped.BEHIND:
            raise Problem(
                409, "NOT_CAUGHT_UP", "It waits until this service has read its topics to their ends."
            )
        case _:
            raise Problem(409, "CONCURRENT_UPDATE", "Another process is running it; ask again.")
