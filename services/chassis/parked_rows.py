"""Rows the broker refuses: put aside with what follows them in their (topic, key); others go on."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from services.chassis.outbox_metrics import PARKED

# The lock on the shard's row makes it certain that we still own it: a relay that was overtaken parks nothing.
STILL_OURS: Final = """
    select true from outbox_shard where part = $1 and owner = $2 and epoch = $3 for share
"""
PARK: Final = """
    insert into outbox_parked
        (id, part, topic, key, key_seq, event_id, event_type, payload, headers, created_at, error)
    select id, part, topic, key, key_seq, event_id, event_type, payload, headers, created_at, $3
    from outbox
    where xid = any($1::xid8[]) and id = any($2::bigint[])
    on conflict (id) do nothing
"""


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
