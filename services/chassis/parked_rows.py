"""Rows the broker refuses: put aside with what follows them in their (topic, key); others go on."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from services.chassis.db import Tx
from services.chassis.outbox_metrics import PARKED

# The lock on the shard's row makes it certain that we still own it: a relay that was overtaken parks nothing.
STILL_OURS: Final = """
    select true from outbox_shard where part = $1 and owner = $2 and epoch = $3 for share
"""
PARK: Final = """
    insert into outbox_parked
        (id, part, topic, key, key_seq, event_id, event_type, subject_kind, payload,
         correlation_id, causation_id, traceparent, created_at, error)
    select id, part, topic, key, key_seq, event_id, event_type, subject_kind, payload,
           correlation_id, causation_id, traceparent, created_at, $3
    from outbox
    where xid = any($1::xid8[]) and id = any($2::bigint[])
    on conflict (id) do nothing
"""


# Of a key that is to be retried everything goes, also what was parked behind it since.
TO_RETRY: Final = """
    select id, part, topic, key, key_seq, event_id, event_type, subject_kind, payload,
           correlation_id, causation_id, traceparent, created_at
    from outbox_parked as one
    where part = $1 and state in ('parked', 'retry') and exists (
        select from outbox_parked as asked
        where (asked.part, asked.topic, asked.key) = (one.part, one.topic, one.key) and asked.state = 'retry'
    )
    order by id
    limit $2
"""
MARK_PUBLISHED: Final = """
    update outbox_parked set state = 'published', updated_at = now() where id = any($1)
"""
PARK_AGAIN: Final = """
    update outbox_parked set state = 'parked', error = $2, updated_at = now()
    where state = 'retry' and (part, topic, key) in (
        select part, topic, key from outbox_parked where id = any($1)
    )
"""
BLOCKED: Final = """
    select topic, key from outbox_parked where part = $1 and state in ('parked', 'retry') group by topic, key
"""
RETRY: Final = """
    update outbox_parked set state = 'retry', updated_at = now()
    where topic = $1 and key = $2 and state = 'parked'
    returning id
"""
SKIP: Final = """
    update outbox_parked set state = 'skipped', reason = $2, updated_at = now()
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


async def retry(tx: Tx, topic: str, key: str) -> int:
    """Let the relay send what is parked of this key, in order; returns how many rows that are."""
    return len(await tx.fetch(RETRY, topic, key))


async def skip(tx: Tx, ids: Sequence[int], reason: str) -> int:
    """Never send these rows; the key goes on once nothing of it is parked. Returns how many were skipped."""
    return len(await tx.fetch(SKIP, ids, reason))


async def to_retry(connection: asyncpg.Connection, part: int) -> list[asyncpg.Record]:
    """The rows somebody wants sent after all, in id order, bounded."""
    rows: list[asyncpg.Record] = await connection.fetch(TO_RETRY, part, RETRIED_AT_ONCE)
    return rows


async def mark_published(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> None:
    """They were sent; sent and not marked they are sent again, as copies."""
    await connection.execute(MARK_PUBLISHED, [row["id"] for row in rows])


async def park_again(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], error: str) -> None:
    """They were refused again: their keys wait for another decision."""
    await connection.execute(PARK_AGAIN, [row["id"] for row in rows], error[:1000])


async def blocked(connection: asyncpg.Connection, part: int) -> set[tuple[str, str]]:
    """The (topic, key)s of which something is still parked."""
    return {(row["topic"], row["key"]) for row in await connection.fetch(BLOCKED, part)}
