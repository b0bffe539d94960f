"""The table of healing duties: whose turn it is, what was found, what is paused; all replicas obey it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.chassis.db import Tx

LONGEST_PAUSE_S: Final = 86_400
"""A pause ends by itself: what nobody wants to heal for longer is not a pause but a change."""

# One process at a time: whoever holds the lock runs, the others skip this round.
TRY_LEAD: Final = "select pg_try_advisory_xact_lock(hashtextextended('reconciler:' || $1, 0))"
WAIT_FOR_LEADER: Final = "select pg_advisory_xact_lock(hashtextextended('reconciler:' || $1, 0))"

TURNS: Final = """
    select name, coalesce(paused_until > now(), false) as paused,
           extract(epoch from next_run_at - now())::float8 as wait_s,
           extract(epoch from last_success_at)::float8 as last_success, last_found
    from reconciler_runs
    where name = any($1::text[])
"""

HEARTBEAT: Final = """
    insert into reconciler_runs (name, last_run_at, last_success_at, last_took_s, last_found, last_found_at,
                                 next_run_at)
    values ($1, now(), now(), extract(epoch from clock_timestamp() - now()), $2,
            case when $2 > 0 then now() end, now() + make_interval(secs => $3))
    on conflict (name) do update
    set last_run_at = excluded.last_run_at, last_success_at = excluded.last_success_at,
        last_took_s = excluded.last_took_s, last_found = excluded.last_found, last_error = null,
        last_found_at = coalesce(excluded.last_found_at, reconciler_runs.last_found_at),
        next_run_at = excluded.next_run_at
"""

POSTPONEMENT: Final = """
    insert into reconciler_runs (name, last_run_at, next_run_at)
    values ($1, now(), now() + make_interval(secs => $2))
    on conflict (name) do update
    set last_run_at = excluded.last_run_at, next_run_at = excluded.next_run_at
"""

COMPLAINT: Final = """
    insert into reconciler_runs (name, last_run_at, last_error) values ($1, now(), $2)
    on conflict (name) do update set last_run_at = excluded.last_run_at, last_error = excluded.last_error
"""

PAUSE: Final = """
    insert into reconciler_runs (name, paused_at, paused_until, paused_by, paused_reason)
    values ($1, now(), now() + make_interval(secs => $2), $3, $4)
    on conflict (name) do update
    set paused_at = excluded.paused_at, paused_until = excluded.paused_until,
        paused_by = excluded.paused_by, paused_reason = excluded.paused_reason
    returning paused_until
"""

RESUME: Final = """
    update reconciler_runs
    set paused_at = null, paused_until = null, paused_by = null, paused_reason = null, next_run_at = now()
    where name = $1 and paused_until > now()
    returning true
"""

# A duty is silent when it has missed three of its rounds and half a minute; a paused one is not expected to
# run. One that has never run counts from when its database was made: a broken start is noticed too.
LIST: Final = """
    select known.name, known.every_s, last_run_at, last_success_at, last_took_s, last_found, last_found_at,
           last_error, next_run_at, paused_at, paused_until, paused_by, paused_reason,
           coalesce(paused_until > now(), false) as paused,
           coalesce(last_success_at, born.applied_at)
               < now() - make_interval(secs => 3 * known.every_s + 30) as late
    from unnest($1::text[], $2::float8[]) with ordinality as known(name, every_s, place)
    left join reconciler_runs using (name)
    cross join (select min(applied_at) as applied_at from schema_migrations) as born
    order by known.place
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a duty may run now."""

    paused: bool = False
    wait_s: float = 0.0
    """Seconds until its next round; not above 0: now."""
    last_success: float | None = None
    """Unix seconds, whichever process it was."""
    last_found: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A duty as operators see it; the pause is there while it lasts."""

    name: str
    every_s: float
    last_run_at: datetime | None
    last_success_at: datetime | None
    last_took_s: float | None
    last_found: int
    last_found_at: datetime | None
    last_error: str | None
    next_run_at: datetime | None
    silent: bool
    paused_until: datetime | None = None
    paused_by: UUID | None = None
    paused_reason: str | None = None


async def turn_of(tx: Tx, name: str, every_s: float) -> Turn:
    """Whose turn it is; a time further ahead than a round can be is not waited for."""
    return (await turns_of(tx, [(name, every_s)]))[name]


async def turns_of(tx: Tx, known: Sequence[tuple[str, float]]) -> dict[str, Turn]:
    """The same of many duties, given as (name, seconds between rounds)."""
    rows = {row["name"]: row for row in await tx.fetch(TURNS, [name for name, _ in known])}
    return {name: _turn(rows[name], every_s) if name in rows else Turn() for name, every_s in known}


def _turn(row: asyncpg.Record, every_s: float) -> Turn:
    wait_s = row["wait_s"] or 0.0
    wait_s = 0.0 if wait_s > 2 * every_s else max(0.0, wait_s)
    return Turn(row["paused"], wait_s, row["last_success"], row["last_found"])


async def try_lead(tx: Tx, name: str) -> bool:
    """Whether this transaction is the one that runs the duty now."""
    leads: bool = await tx.fetchval(TRY_LEAD, name)
    return leads


async def beat(tx: Tx, name: str, found: int, next_in_s: float) -> None:
    """It ran and found so many; the next round is due so many seconds from now, whoever takes it."""
    await tx.execute(HEARTBEAT, name, found, next_in_s)


async def postpone(tx: Tx, name: str, next_in_s: float) -> None:
    """Its turn came and it could not judge: no success, so that somebody notices when it stays so."""
    await tx.execute(POSTPONEMENT, name, next_in_s)


async def complain(tx: Tx, name: str, error: str) -> None:
    """It failed; whoever looks again soonest tries again."""
    await tx.execute(COMPLAINT, name, error[:1000])


async def pause(tx: Tx, name: str, for_s: float, by: UUID, reason: str) -> datetime:
    """Pause it in all processes; returns until when. Waits until a run that has begun is over.

    Raises asyncpg.LockNotAvailableError when that takes longer than the transaction waits for locks.
    """
    assert 0 < for_s <= LONGEST_PAUSE_S
    await tx.fetchval(WAIT_FOR_LEADER, name)
    until: datetime = await tx.fetchval(PAUSE, name, for_s, by, reason)
    return until


async def resume(tx: Tx, name: str) -> bool:
    """End its pause; False when it was not paused."""
    return bool(await tx.fetchval(RESUME, name))


async def statuses(tx: Tx, known: Sequence[tuple[str, float]]) -> list[Status]:
    """These duties, given as (name, seconds between rounds), in this order."""
    names, periods = [one[0] for one in known], [float(one[1]) for one in known]
    return [_status(row) for row in await tx.fetch(LIST, names, periods)]


def _status(row: asyncpg.Record) -> Status:
    paused = row["paused"]
    return Status(
        name=row["name"],
        every_s=row["every_s"],
        last_run_at=row["last_run_at"],
        last_success_at=row["last_success_at"],
        last_took_s=row["last_took_s"],
        last_found=row["last_found"] or 0,
        last_found_at=row["last_found_at"],
        last_error=row["last_error"],
        next_run_at=max(
            filter(None, (row["next_run_at"], row["paused_until"] if paused else None)), default=None
        ),
        silent=row["late"] and not paused,
        paused_until=row["paused_until"] if paused else None,
        paused_by=row["paused_by"] if paused else None,
        paused_reason=row["paused_reason"] if paused else None,
    )
