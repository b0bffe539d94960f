"""Rows the broker refuses: put aside with what follows them in their (topic, key); others go on.

They are tried again with back-off, as the first one that waits of a key says, or when somebody asks for it.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from services.chassis.backoff import pause_s
from services.chassis.db import Tx
from services.chassis.outbox_metrics import PARKED

# The lock on the shard's row makes it certain that we still own it: a relay that was overtaken parks nothing.
STILL_OURS: Final = """
    select true from outbox_shard where part = $1 and owner = $2 and epoch = $3 for share
"""
PARK: Final = """
    insert into outbox_parked
        (id, part, topic, key, key_seq, event_id, version, subject_kind, payload,
         correlation_id, causation_id, traceparent, created_at, error)
    select id, part, topic, key, key_seq, event_id, version, subject_kind, payload,
           correlation_id, causation_id, traceparent, created_at, $3
    from outbox
    where xid = any($1::xid8[]) and id = any($2::bigint[])
    on conflict (id) do nothing
"""


# Of a key that is to be retried everything goes, also what was parked behind it since.
TO_RETRY: Final = """
    with due as (
        select topic, key from outbox_parked
        where part = $1 and state in ('parked', 'retry')
        group by topic, key
        having bool_or(state = 'retry') or (array_agg(next_at order by id))[1] <= now()
    )
    select id, part, topic, key, key_seq, event_id, version, subject_kind,
           coalesce(edited_payload, payload) as payload,
           correlation_id, causation_id, traceparent, created_at, attempts
    from outbox_parked join due using (topic, key)
    where part = $1 and state in ('parked', 'retry')
    order by id
    limit $2
"""
MARK_PUBLISHED: Final = """
    update outbox_parked set state = 'published', attempts = attempts + 1, updated_at = now()
    where id = any($1)
"""
# Nothing of a key is asked for any more once one of it was refused again: the back-off of that one decides.
PARK_AGAIN: Final = """
    update outbox_parked set state = 'parked', updated_at = now()
    where state = 'retry' and (part, topic, key) in (select part, topic, key from outbox_parked where id = $1)
"""
PUT_OFF: Final = """
    update outbox_parked
    set error = $2, attempts = attempts + 1, last_failed_at = now(), updated_at = now(),
        next_at = now() + make_interval(secs => $3)
    where id = $1
"""
BLOCKED: Final = """
    select topic, key from outbox_parked where part = $1 and state in ('parked', 'retry') group by topic, key
"""
RETRY: Final = """
    update outbox_parked set state = 'retry', updated_at = now()
    where state = 'parked' and (topic, key) in (select * from unnest($1::text[], $2::text[]))
    returning id
"""
SKIP: Final = """
    update outbox_parked set state = 'skipped', reason = $2, dismissed_by = $3, updated_at = now()
    where id = any($1) and state in ('parked', 'retry')
    returning id
"""
RETRIED_AT_ONCE: Final = 200


class OvertakenError(Exception):
    """The shard has a new owner."""


async def park(
    connection: asyncpg.Connection, owner: str, epoch: int, rows: Sequence[asyncpg.Record], error: str
) -> None:
    """Put these rows of one shard aside; raises OvertakenError when the shard is no longer the owner's."""
    async with connection.transaction():
        if not await connection.fetchval(STILL_OURS, rows[0]["part"], owner, epoch):
            raise OvertakenError(f"partition {rows[0]['part']} is no longer published by {owner}")
        xids, ids = [row["xid"] for row in rows], [row["id"] for row in rows]
        await connection.execute(PARK, xids, ids, error[:1000])
    PARKED.inc(len(rows))


async def retry(tx: Tx, keys: Sequence[tuple[str, str]]) -> int:
    """Let the relay send what is parked of these (topic, key)s, in order; returns how many rows that are."""
    return len(await tx.fetch(RETRY, [topic for topic, _ in keys], [key for _, key in keys]))


async def skip(tx: Tx, ids: Sequence[int], reason: str, by: str) -> int:
    """Never send these rows; the key goes on once nothing of it is parked. Returns how many were skipped."""
    return len(await tx.fetch(SKIP, ids, reason, by))


async def to_retry(connection: asyncpg.Connection, part: int) -> list[asyncpg.Record]:
    """The rows that are due, or that somebody wants sent after all, in id order, bounded."""
    rows: list[asyncpg.Record] = await connection.fetch(TO_RETRY, part, RETRIED_AT_ONCE)
    return rows


async def mark_published(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> None:
    """They were sent; sent and not marked they are sent again, as copies."""
    await connection.execute(MARK_PUBLISHED, [row["id"] for row in rows])


async def park_again(connection: asyncpg.Connection, row: asyncpg.Record, error: str) -> None:
    """It was refused again: its key waits, longer each time, or until somebody decides."""
    async with connection.transaction():
        await connection.execute(PARK_AGAIN, row["id"])
        await connection.execute(PUT_OFF, row["id"], error[:1000], pause_s(row["attempts"] + 1))


async def blocked(connection: asyncpg.Connection, part: int) -> set[tuple[str, str]]:
    """The (topic, key)s of which something is still parked."""
    return {(row["topic"], row["key"]) for row in await connection.fetch(BLOCKED, part)}
