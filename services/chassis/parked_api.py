"""Parked records over HTTP, for operators: look, try without effect, retry, replay, edit, skip."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import asyncpg
import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse

from contracts.http import Id, Instant
from contracts.http.operations import (
    EditParked,
    Moved,
    MoveParked,
    NameParked,
    OperatorAction,
    ParkedDetail,
    ParkedGroup,
    ParkedGroups,
    ParkedPage,
    ParkedRecord,
    RecordName,
    Rehearsal,
    Rehearsed,
    ReplayParked,
    ReplayProgress,
    Side,
    Text,
    ToldFact,
)
from services.chassis import operator_log, parked_actions, parked_dry_run
from services.chassis.auth import Principal, require
from services.chassis.errors import FieldError, Problem
from services.chassis.pages import Limit
from services.chassis.parked_actions import SIDES, Desk
from services.chassis.parked_dry_run import Tried
from services.chassis.parked_filter import Filter

router = APIRouter(prefix="/internal/operator/parked", include_in_schema=False)
MOST_GROUPS: Final = 200
MOST_ACTIONS: Final = 50

Operator = Annotated[Principal, Depends(require("operator", "admin"))]
Name = Annotated[RecordName, Path()]


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]


async def _wanted(
    side: Side = "in",
    state: Annotated[list[Text] | None, Query()] = None,
    topic: Text | None = None,
    failure: Text | None = None,
    key: Text | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
) -> Filter:
    return Filter(_states(side, state), topic, failure, key, since, until)


Wanted = Annotated[Filter, Depends(_wanted)]


@router.get("")
async def list_parked(
    desk: AtDesk,
    _: Operator,
    limit: Limit,
    wanted: Wanted,
    side: Side = "in",
    after: RecordName | None = None,
) -> ParkedPage:
    """Open records unless `state` says otherwise, the oldest first."""
    whose, position = desk.place_of(after) if after else (side, 0)
    if whose != side:
        raise Problem(422, "INVALID_CURSOR", f"{after} is not in the list of side `{side}`.")
    async with desk.db.transaction() as tx:
        found = await SIDES[side].listed(tx, wanted, position, limit + 1)
    shown = [_record(desk, side, row) for row in found[:limit]]
    return ParkedPage(data=shown, next=shown[-1].record if len(found) > limit else None)


@router.get("/groups")
async def group_parked(desk: AtDesk, _: Operator) -> ParkedGroups:
    """Open records of both sides by topic, state and failure."""
    groups: list[ParkedGroup] = []
    async with desk.db.transaction() as tx:
        for side in SIDES:
            found = await SIDES[side].groups(tx, MOST_GROUPS)
            groups += [ParkedGroup.model_validate({"side": side, **row}) for row in found]
    return ParkedGroups(data=groups)


@router.get("/replays/{replay}")
async def show_replay(desk: AtDesk, _: Operator, replay: Id) -> ReplayProgress:
    """How far a replay is."""
    async with desk.db.transaction() as tx:
        action = await operator_log.find(tx, replay)
        if action is None or action["action"] != "parked.replay":
            raise Problem(404, "NOT_FOUND")
        found = await SIDES[action["detail"]["side"]].progress(tx, replay)
    counts = dict(found or {})
    asked = action["detail"]["asked"]
    told = {name: action[name] for name in ("id", "at", "actor", "reason")}
    others = asked - sum(counts.values())
    return ReplayProgress.model_validate(told | counts | {"asked": asked, "others": others})


@router.get("/{record}")
async def show_parked(desk: AtDesk, _: Operator, record: Name) -> ParkedDetail:
    """Everything that is known of one record, and what operators did about it."""
    side, number = desk.place_of(record)
    async with desk.db.transaction() as tx:
        row = await SIDES[side].show(tx, number)
        if row is None:
            raise Problem(404, "NOT_FOUND", f"There is no record {record}.")
        actions = await operator_log.about(tx, record, MOST_ACTIONS)
    return ParkedDetail(
        **_record(desk, side, row).model_dump(),
        partition=row["part"],
        offset=row["kafka_offset"],
        headers=row["headers"],
        payload=_text(row["payload"]),
        edited_payload=_text(row["edited_payload"]),
        waits_behind=desk.name_of(side, row["waits_behind"]) if row["waits_behind"] else None,
        actions=[OperatorAction.model_validate(dict(one)) for one in actions],
    )


@router.post("/dry-run")
async def rehearse_parked(desk: AtDesk, _: Operator, asked: NameParked) -> Rehearsal:
    """What a retry of these would do, now; nothing of it stays."""
    tried = await parked_dry_run.rehearse(desk, asked.records)
    return Rehearsal(data=[_rehearsed(desk, side, one) for side, all_of in tried.items() for one in all_of])


@router.post("/retry")
async def retry_parked(desk: AtDesk, caller: Operator, asked: MoveParked) -> Moved:
    """Try these as soon as possible."""
    return _moved(desk, await parked_actions.retry(desk, caller.subject, asked))


@router.post("/skip")
async def skip_parked(desk: AtDesk, caller: Operator, asked: MoveParked) -> Moved:
    """Give these up; what waits behind them goes on."""
    return _moved(desk, await parked_actions.skip(desk, caller.subject, asked))


@router.post("/replay", status_code=202)
async def replay_parked(desk: AtDesk, caller: Operator, asked: ReplayParked) -> JSONResponse:
    """Try everything that fits, at a bounded rate."""
    made = await parked_actions.replay(desk, caller.subject, asked)
    progress = await show_replay(desk, caller, made)
    where = {"Location": f"{router.prefix}/replays/{made}"}
    return JSONResponse(progress.model_dump(mode="json"), 202, where)


@router.put("/{record}/payload")
async def edit_parked(desk: AtDesk, caller: Operator, record: Name, asked: EditParked) -> ParkedRecord:
    """Put another body into this record's place."""
    row = await parked_actions.edit(desk, caller.subject, record, asked)
    return _record(desk, desk.place_of(record)[0], row)


def _states(side: str, given: Sequence[str] | None) -> Sequence[str]:
    known = SIDES[side].STATES
    if given and (unknown := [one for one in given if one not in known]):
        errors = [
            FieldError("/state", "UNKNOWN_STATE", f"{one} is none of {', '.join(known)}") for one in unknown
        ]
        raise Problem(422, "VALIDATION_FAILED", errors=errors[:20])
    return given or SIDES[side].OPEN


def _record(desk: Desk, side: str, row: asyncpg.Record) -> ParkedRecord:
    trace = (row["traceparent"] or "").split("-")
    named = {"record": desk.name_of(side, row["id"]), "trace_id": trace[1] if len(trace) > 1 else None}
    return ParkedRecord.model_validate(dict(row) | named)


def _moved(desk: Desk, moved: Mapping[str, Sequence[asyncpg.Record]]) -> Moved:
    return Moved(data=[_record(desk, side, row) for side, rows in moved.items() for row in rows])


def _rehearsed(desk: Desk, side: str, tried: Tried) -> Rehearsed:
    told = [
        ToldFact(
            topic=row["topic"],
            key=row["key"],
            sequence=row["key_seq"],
            payload=orjson.loads(row["payload"]),
        )
        for row in tried.told
    ]
    return Rehearsed(record=desk.name_of(side, tried.id), outcome=tried.outcome, error=tried.error, told=told)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")
