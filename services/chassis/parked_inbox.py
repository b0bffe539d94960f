"""Parked records a service has heard, as operators see and move them; every statement takes a list."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from services.chassis.db import Tx
from services.chassis.parked_filter import Filter
from services.chassis.retrier import go_on

OPEN: Final = ("parked", "dead")
STATES: Final = ("parked", "dead", "replayed", "skipped")

COLUMNS: Final = """
    id, topic, key, state, reason as failure, error, one.attempts, event_id, traceparent,
    first_failed_at, last_failed_at, case state when 'parked' then block.next_at end as next_at,
    edited_payload is not null as edited, outcome
"""
FITS: Final = """
    id > $1 and state = any($2::text[])
    and ($3::text is null or topic = $3) and ($4::text is null or reason = $4)
    and ($5::text is null or key = $5)
    and ($6::timestamptz is null or first_failed_at >= $6)
    and ($7::timestamptz is null or first_failed_at < $7)
"""
LIST: Final = f"""
    select {COLUMNS} from inbox_parked as one left join inbox_block as block using (consumer, key)
    where {FITS} order by id limit $8
"""  # noqa: S608 - only our own words are put in
IDS: Final = f"""
    select id from inbox_parked where {FITS} order by id limit $8
"""  # noqa: S608 - only our own words are put in
NAMED: Final = f"""
    select {COLUMNS} from inbox_parked as one left join inbox_block as block using (consumer, key)
    where id = any($1::bigint[]) order by id
"""  # noqa: S608 - only our own words are put in
SHOW: Final = f"""
    select {COLUMNS}, part, kafka_offset, headers, payload, edited_payload,
           (select max(id) from inbox_parked as ahead
            where ahead.consumer = one.consumer and ahead.key = one.key and ahead.state = 'parked'
              and ahead.id < one.id and one.state = 'parked') as waits_behind
    from inbox_parked as one left join inbox_block as block using (consumer, key)
    where id = $1
"""  # noqa: S608 - only our own words are put in
GROUPS: Final = """
    select topic, state, reason as failure, count(*) as count, min(first_failed_at) as oldest_at
    from inbox_parked
    where state = any(array['parked', 'dead'])
    group by topic, state, reason
    order by count(*) desc
    limit $1
"""
# Blocks first, as the retrier takes them: whoever holds one is at work on the records of its key.
LOCK_BLOCKS: Final = """
    select from inbox_block
    where (consumer, key) in (select consumer, key from inbox_parked where id = any($1::bigint[]))
    order by consumer, key
    for update
"""
LOCK: Final = """
    select id, consumer, topic, key, state, outcome, updated_at, payload, edited_payload
    from inbox_parked
    where id = any($1::bigint[])
    order by id
    for update
"""
# Keys in the order of their oldest record, each due once those before it may be done at the rate asked for.
SCHEDULE: Final = """
    insert into inbox_block (consumer, key, next_at)
    select consumer, key, now() + make_interval(secs =>
               ((sum(count(*)) over (order by min(id)) - count(*)) / $2::int)::float8)
    from inbox_parked
    where id = any($1::bigint[])
    group by consumer, key
    order by consumer, key
    on conflict (consumer, key) do update set next_at = excluded.next_at
"""
PUT_BACK: Final = """
    update inbox_parked set state = 'parked', replay = coalesce($2, replay), updated_at = now()
    where id = any($1::bigint[]) and state in ('parked', 'dead')
"""
SKIP: Final = """
    update inbox_parked
    set state = 'skipped', dismissed_by = $2, dismissed_reason = $3, dismissed_at = now(), updated_at = now()
    where id = any($1::bigint[])
    returning consumer, key
"""
EDIT: Final = """
    update inbox_parked set edited_payload = $2, updated_at = now() where id = $1
"""
PROGRESS: Final = """
    select count(*) filter (where state = 'parked') as waiting,
           count(*) filter (where state = 'replayed') as done,
           count(*) filter (where state = 'dead') as dead,
           count(*) filter (where state = 'skipped') as skipped
    from inbox_parked where replay = $1
"""
AT_ONCE: Final = 1_000_000_000


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
    """These records, held together with their keys; raises LockNotAvailableError when one is at work."""
    await tx.fetch(LOCK_BLOCKS, ids)
    return await tx.fetch(LOCK, ids)


async def retry(tx: Tx, ids: Sequence[int]) -> None:
    """Their keys are due at once; dead ones wait in them again."""
    await schedule(tx, ids, AT_ONCE, None)


async def schedule(tx: Tx, ids: Sequence[int], per_second: int, replay: UUID | None) -> None:
    """The retrier takes them, key after key, no more than so many a second."""
    await tx.execute(SCHEDULE, ids, per_second)
    await tx.execute(PUT_BACK, ids, replay)


async def skip(tx: Tx, ids: Sequence[int], reason: str, by: UUID) -> None:
    """They never take effect; their keys go on."""
    rows = await tx.fetch(SKIP, ids, str(by), reason)
    await go_on(tx, sorted({(row["consumer"], row["key"]) for row in rows}))


async def edit(tx: Tx, parked: int, payload: bytes) -> None:
    """From now on it is read with these bytes; those it came with are kept."""
    await tx.execute(EDIT, parked, payload)


async def progress(tx: Tx, replay: UUID) -> asyncpg.Record | None:
    """What has become of the records of a replay."""
    return await tx.fetchrow(PROGRESS, replay)
