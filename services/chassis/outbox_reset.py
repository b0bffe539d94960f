"""Making an outbox publishable again after its database came to another cluster by dump and restore.

There the transaction ids begin anew: old rows and old cursors lie in the future. What was not published is
written again, with the ids of its events, and the cursors start from now.
"""

from typing import Final
from uuid import UUID

import asyncpg

from services.chassis import operator_log
from services.chassis.db import Tx, prepare_connection
from services.chassis.operator_log import Action

# Before anything of ours gets a transaction id: what we write afterwards is then outside of this snapshot.
NOW_VISIBLE: Final = "select pg_current_snapshot()::text"
LOCK: Final = "lock table outbox, outbox_shard in exclusive mode"
KEEP: Final = """
    create temporary table left_over on commit drop as
    select told.part, topic, key, key_seq, event_id, version, subject_kind, payload,
           correlation_id, causation_id, traceparent, created_at, told.id
    from outbox as told join outbox_shard as shard on shard.part = told.part
    where not pg_visible_in_snapshot(xid, snap)
      and (page_to is null or told.id > page_after or not pg_visible_in_snapshot(xid, page_to))
"""
EMPTY: Final = "truncate outbox"
TELL_AGAIN: Final = """
    insert into outbox (part, topic, key, key_seq, event_id, version, subject_kind, payload,
                        correlation_id, causation_id, traceparent, created_at)
    select part, topic, key, key_seq, event_id, version, subject_kind, payload,
           correlation_id, causation_id, traceparent, created_at
    from left_over order by id
"""
START_FROM: Final = """
    update outbox_shard
    set snap = $1::text::pg_snapshot, page_to = null, page_after = 0, owner = null, epoch = epoch + 1,
        lease_until = '-infinity'
"""


async def reset(admin: asyncpg.Connection, service: str, *, actor: UUID, reason: str) -> int:
    """Rewrite what is unpublished and restart the cursors; returns how many rows that were.

    For the owner of the tables, with no relay running. Harmless when nothing is wrong. Who did it and why is
    written into the operators' log with it.
    """
    await prepare_connection(admin)
    async with admin.transaction():
        snapshot = await admin.fetchval(NOW_VISIBLE)
        await admin.execute(LOCK)
        await admin.execute(KEEP)
        count: int = await admin.fetchval("select count(*) from left_over")
        await admin.execute(EMPTY)
        await admin.execute(TELL_AGAIN)
        await admin.execute(START_FROM, snapshot)
        done = Action(actor, "outbox.reset", service, reason, {"unpublished": count})
        await operator_log.record(Tx(admin), done)
    return count
