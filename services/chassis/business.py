"""`GET /internal/health/business`: is the work getting done? Every number is a bounded query of its own."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from services.chassis import leases, outbox_backlog, reconciler_runs, retrier
from services.chassis.auth import Principal, require
from services.chassis.db import Tx
from services.chassis.http import Db
from services.chassis.reconciler import Reconciler

Numbers: TypeAlias = Callable[[Tx, datetime], Awaitable[dict[str, Any]]]
"""A service's own part: `counts` by stage or status, `stuck` by kind, and what else it measures."""

router = APIRouter(include_in_schema=False)
Operator = Annotated[Principal, Depends(require("operator", "admin", "service"))]

MOST: Final = 10_000
"""Rows counted at most; more is told as this number."""
DAY: Final = timedelta(days=1)

# Of the newest ones, which are the last by id too.
FAILED: Final = """
    select reason,
           count(*) filter (where first_failed_at > now() - interval '1 hour')::int as last_hour,
           count(*)::int as last_day
    from (select reason, first_failed_at from inbox_parked order by id desc limit $1) as newest
    where first_failed_at > now() - interval '24 hours'
    group by reason
"""
OPEN: Final = """
    select state, count(*)::int as n, extract(epoch from now() - min(first_failed_at))::float8 as oldest_s
    from (select state, first_failed_at from inbox_parked
          where state in ('parked', 'dead') limit $1) as waiting
    group by state
"""
REFUSED: Final = """
    select count(*)::int
    from (select from outbox_parked where state in ('parked', 'retry') limit $1) as waiting
"""


def newest_since(when: datetime) -> UUID:
    """The least UUIDv7 of that time: where the ids made since then begin (RFC 9562, section 5.7)."""
    return UUID(int=int(when.timestamp() * 1000) << 80)


@router.get("/internal/health/business")
async def business(request: Request, db: Db, _: Operator) -> dict[str, Any]:
    """Stuck, failed, waiting, unpublished; `ok` is false when somebody should look."""
    numbers: Numbers | None = request.app.state.numbers
    duties: Mapping[str, Reconciler] = request.app.state.duties
    async with db.transaction() as tx:
        now = await tx.now()
        own = {} if numbers is None else await numbers(tx, now)
        said = {
            "at": now,
            "failed": await _failed(tx),
            "outbox": await _outbox(tx),
            "reconcilers": await _reconcilers(tx, duties),
            "counts": own.get("counts", {}),
            "stuck": own.get("stuck", {}) | {"retries": await retrier.overdue(tx, MOST)},
        }
    return {"ok": is_well(said | own), **(own | said)}


def is_well(said: Mapping[str, Any]) -> bool:
    """Nothing stuck, dead, refused, silent or empty; what is only waiting for its time is well."""
    return not (
        any(said["stuck"].values())
        or said["failed"]["dead"]
        or said["outbox"]["refused"]
        or said["outbox"]["idle_shards"]
        or said["reconcilers"]["silent"]
        or said.get("orders_without_items")
    )


async def _failed(tx: Tx) -> dict[str, Any]:
    rows = await tx.fetch(FAILED, MOST)
    waiting = {row["state"]: row for row in await tx.fetch(OPEN, MOST)}
    return {
        "last_hour": {row["reason"]: row["last_hour"] for row in rows if row["last_hour"]},
        "last_day": {row["reason"]: row["last_day"] for row in rows},
        **{state: waiting[state]["n"] if state in waiting else 0 for state in ("parked", "dead")},
        "oldest_s": max((row["oldest_s"] for row in waiting.values()), default=None),
    }


async def _outbox(tx: Tx) -> dict[str, Any]:
    backlog = await outbox_backlog.measure(tx)
    return {
        "unpublished": backlog.depth,
        "oldest_unpublished_s": backlog.oldest_age_s,
        "idle_shards": await leases.idle_shards(tx),
        "refused": await tx.fetchval(REFUSED, MOST),
    }


async def _reconcilers(tx: Tx, duties: Mapping[str, Reconciler]) -> dict[str, Any]:
    found = await reconciler_runs.statuses(tx, [(one.name, one.every_s) for one in duties.values()])
    return {
        "silent": [one.name for one in found if one.silent],
        "failing": [one.name for one in found if one.last_error],
        "paused": {one.name: one.paused_until for one in found if one.paused_until},
    }
