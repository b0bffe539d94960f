"""Intents that something should have happened to by now."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from contracts.topics import PARTITIONS
from services.chassis.db import Tx
from services.chassis.murmur2 import partition_of

# Only those a decision would move: windows that nobody can decide yet must not crowd out the others.
READ_CLOSABLE = """
    select subject_id
    from intents i
    where status = 'AWAITING_PAYMENT' and close_at <= $1
      and (
        (not exists (
            select from attempts a
            where a.subject_id = i.subject_id
              and (a.status in ('IN_FLIGHT', 'ON_HOLD')
                   or a.status not in ('MISMATCHED', 'CONFIRMED', 'REVERSED')
                      and coalesce(a.answered_at, '-infinity') < i.close_at))
         and not exists (
            select from review_cases c
            where c.subject_id = i.subject_id and c.open and c.reason in ('mismatch', 'reversed')))
        or (close_at <= $1 - $2::float8 * interval '1 second'
            and not exists (
                select from review_cases c
                where c.subject_id = i.subject_id
                  and (c.reason = 'undecided' or c.open and c.reason = 'mismatch')))
      )
    order by close_at
    limit $3
"""

# The shard of a subject's id is a hash that only we can compute: it is written down for those that wait, so
# that those of a shard that stands still take nobody's place below.
UNSHARDED = """
    select subject_id from intents
    where status = 'SUCCEEDED' and answer is null and left_at is null and part is null
    order by verified_at
    limit $1
    for no key update skip locked
"""

NAME_SHARDS = """
    update intents i set part = n.part
    from unnest($1::uuid[], $2::smallint[]) as n (subject_id, part)
    where i.subject_id = n.subject_id
"""

# The relay's cursor of its partition has passed the transaction that told it. One that this server has yet to
# begin was another server's: the database came by dump, and since the cursor is ours again, what was not
# published has been told anew.
NOTE_LEFT = """
    with gone as (
        select subject_id from intents i join outbox_shard s using (part)
        where status = 'SUCCEEDED' and answer is null and left_at is null
          and (pg_visible_in_snapshot(i.verified_xid, s.snap)
               or i.verified_xid >= pg_snapshot_xmax(pg_current_snapshot())
                  and pg_snapshot_xmax(s.snap) <= pg_snapshot_xmax(pg_current_snapshot()))
        order by verified_at
        limit $1
        for no key update of i skip locked
    )
    update intents i set left_at = now() from gone where i.subject_id = gone.subject_id
"""

READ_UNANSWERED = """
    select subject_id from intents
    where status = 'SUCCEEDED' and answer is null and verified_at <= $1
    order by verified_at
    limit $2
"""

READ_LEFT_UNANSWERED = """
    select subject_id from intents i
    where status = 'SUCCEEDED' and answer is null and left_at <= $1
      and not exists (
        select from review_cases c where c.subject_id = i.subject_id and c.reason = 'unanswered')
    order by verified_at
    limit $2
"""


async def read_closable(tx: Tx, now: datetime, *, patience_s: float, limit: int) -> list[UUID]:
    """Open windows past their last lookups, which can be decided or must be looked at."""
    return _ids(await tx.fetch(READ_CLOSABLE, now, patience_s, limit))


async def note_left(tx: Tx, limit: int) -> None:
    """Write down which payments have been told to the broker."""
    ids = _ids(await tx.fetch(UNSHARDED, limit))
    if ids:
        parts = [partition_of(str(subject_id).encode(), PARTITIONS) for subject_id in ids]
        await tx.execute(NAME_SHARDS, ids, parts)
    await tx.execute(NOTE_LEFT, limit)


async def read_unanswered(tx: Tx, before: datetime, limit: int) -> list[UUID]:
    """Payments without an answer that were verified before this time."""
    return _ids(await tx.fetch(READ_UNANSWERED, before, limit))


async def read_left_unanswered(tx: Tx, before: datetime, limit: int) -> list[UUID]:
    """Payments that were told before this time and have neither an answer nor a case."""
    return _ids(await tx.fetch(READ_LEFT_UNANSWERED, before, limit))


def _ids(rows: Sequence[object]) -> list[UUID]:
    return [row["subject_id"] for row in rows]  # type: ignore[index]
