"""Parked records a service has told and the broker has refused, as operators see and move them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from contracts.event import TYPES
from services.chassis import parked_rows
from services.chassis.db import Tx
from services.chassis.parked_filter import Filter

OPEN: Final = ("parked", "retry")
STATES: Final = ("parked", "retry", "published", "skipped")

COLUMNS: Final = """
    id, topic, key, state, failure, error, attempts, event_id, traceparent,
    parked_at as first_failed_at, last_failed_at, next_at, edited_payload is not null as edited,
    null::text as outcome
"""
FITS: Final = """
    id > $1 and state = any($2::text[])
    and ($3::text is null or topic = $3) and ($4::text is null or failure = $4)
    and ($5::text is null or key = $5)
    and ($6::timestamptz is null or parked_at >= $6)
    and ($7::timestamptz is null or parked_at < $7)
"""
LIST: Final = f"""
    select {COLUMNS} from outbox_parked where {FITS} order by id limit $8
"""  # noqa: S608 - only our own words are put in
IDS: Final = f"""
    select id from outbox_parked where {FITS} order by id limit $8
"""  # noqa: S608 - only our own words are put in
NAMED: Final = f"""
    select {COLUMNS} from outbox_parked where id = any($1::bigint[]) order by id
"""  # noqa: S608 - only our own words are put in
SHOW: Final = f"""
    select {COLUMNS}, part, null::bigint as kafka_offset, payload, edited_payload,
           jsonb_build_object('ce_id', event_id, 'ce_type', '{TYPES}' || topic || '.v' || version,
                              'ce_sequence', key_seq::text, 'ce_subjectkind', subject_kind) as headers,
           (select max(id) from outbox_parked as ahead
            where (ahead.part, ahead.topic, ahead.key) = (one.part, one.topic, one.key)
              and ahead.state in ('parked', 'retry') and ahead.id < one.id
              and one.state in ('parked', 'retry')) as waits_behind
    from outbox_parked as one
    where id = $1
"""  # noqa: S608 - only our own words are put in
GROUPS: Final = """
    select topic, state, failure, count(*) as count, min(parked_at) as oldest_at
    from outbox_parked
    where state in ('parked', 'retry')
    group by topic, state, failure
    order by count(*) desc
    limit $1
"""
LOCK: Final = """
    select id, topic, key, state, null::text as outcome, updated_at, payload, edited_payload
    from outbox_parked
    where id = any($1::bigint[])
    order by id
    for update
"""
# The first record that waits of a key says when the key is tried; its turn comes at the rate asked for.
SCHEDULE: Final = """
    with turns as (
        select part, topic, key, now() + make_interval(secs =>
                   ((sum(count(*)) over (order by min(id)) - count(*)) / $2::int)::float8) as at
        from outbox_parked
        where id = any($1::bigint[]) and state in ('parked', 'retry')
        group by part, topic, key
    )
    update outbox_parked as one
    set state = 'parked', next_at = turns.at, updated_at = now(),
        replay = case when one.id = any($1::bigint[]) then $3 else one.replay end
    from turns
    where (one.part, one.topic, one.key) = (turns.part, turns.topic, turns.key)
      and one.state in ('parked', 'retry')
"""
EDIT: Final = """
    update outbox_parked set edited_payload = $2, updated_at = now() where id = $1
"""
PROGRESS: Final = """
    select count(*) filter (where state in ('parked', 'retry')) as waiting,
           count(*) filter (where state = 'published') as done, 0::bigint as dead,
           count(*) filter (where state = 'skipped') as skipped
    from outbox_parked where replay = $1
"""


async def listed(tx: Tx, wanted: Filter, after: int, limit: int) -> list[asyncpg.Record]:
    """Records that fit, the oldest first, numbered above `after`."""
    return await tx.fetch(LIST, after, *wanted.arguments, limit)


async def ids_of(tx: Tx, wanted: Filter, limit: int) -> list[int]:
    """The numbers of the records that fit, the oldest first."""
    return [row["id"] for row in await tx.fetch(IDS, 0, *wanted.arguments, limit)]


async def named(tx: Tx, ids: Sequence[int]) -> list[asyncpg.Record]:
    """These records as they are now."""
    return await tx.fetch(NAMED, ids)


async def show(tx: Tx, parked: int) -> asyncpg.Record | None:
    """One record with everything that is known of it."""
    return await tx.fetchrow(SHOW, parked)


async def groups(tx: Tx, limit: int) -> list[asyncpg.Record]:
    """Open records by topic, state and failure; the most frequent first."""
    return await tx.fetch(GROUPS, limit)


async def lock(tx: Tx, ids: Sequence[int]) -> list[asyncpg.Record]:
    """These records, held; raises LockNotAvailableError when somebody else moves one."""
    return await tx.fetch(LOCK, ids)


async def retry(tx: Tx, ids: Sequence[int]) -> None:
    """The relay sends their keys at its next look, with everything that waits behind them."""
    rows = await tx.fetch(NAMED, ids)
    await parked_rows.retry(tx, sorted({(row["topic"], row["key"]) for row in rows}))


async def schedule(tx: Tx, ids: Sequence[int], per_second: int, replay: UUID | None) -> None:
    """The relay sends them, key after key, about so many a second."""
    await tx.execute(SCHEDULE, ids, per_second, replay)


async def skip(tx: Tx, ids: Sequence[int], reason: str, by: UUID) -> None:
    """They are never sent; their keys go on."""
    await parked_rows.skip(tx, ids, reason, str(by))


async def edit(tx: Tx, parked: int, payload: bytes) -> None:
    """From now on these bytes are sent; those it was told with are kept."""
    await tx.execute(EDIT, parked, payload)


async def progress(tx: Tx, replay: UUID) -> asyncpg.Record | None:
    """What has become of the records of a replay."""
    return await tx.fetchrow(PROGRESS, replay)
