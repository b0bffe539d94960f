"""What a retry would come to, in a transaction that is rolled back: outcomes, and the facts it would tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from services.chassis import parked_outbox, replaying
from services.chassis.db import Tx
from services.chassis.errors import Problem, is_transient
from services.chassis.parked_actions import Desk, locked
from services.chassis.publisher import MAX_BATCH

MOST_REHEARSED: Final = 100
ENVELOPE: Final = 2048
"""Bytes that key, headers and the batch around a body take at most."""

# What is asked for, and in its keys what would be tried before it.
QUEUE: Final = """
    with asked as (
        select id, consumer, key, state from inbox_parked where id = any($1::bigint[])
    ), meant as (
        select id from asked
        union
        select ahead.id from asked join inbox_parked as ahead using (consumer, key)
        where asked.state = 'parked' and ahead.state = 'parked' and ahead.id < asked.id
    )
    select id, consumer, topic, part, kafka_offset, key, event_id, headers,
           coalesce(edited_payload, payload) as payload
    from inbox_parked
    where id in (select id from meant)
    order by id
    limit $2
"""
# Of this transaction alone: its rows carry its number.
TOLD: Final = """
    select id, topic, key, key_seq, payload from outbox
    where xid = pg_current_xact_id() and id > $1
    order by id
"""

LAST_TOLD: Final = """
    select coalesce(max(id), 0) from outbox where xid = pg_current_xact_id()
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """One record: what it came to, and the rows of the outbox it wrote."""

    id: int
    outcome: str
    error: str = ""
    told: Sequence[asyncpg.Record] = ()


class _Undo(Exception):  # noqa: N818 - control flow: nothing of a rehearsal stays
    pass


async def rehearse(desk: Desk, names: Sequence[str]) -> dict[str, list[Tried]]:
    """By side, record by record as a retry would take them; a key ends where one fails. Leaves nothing."""
    tried: dict[str, list[Tried]] = {}
    try:
        async with desk.at_work() as tx:
            for side, ids in desk.by_side(names).items():
                await locked(tx, desk, side, ids)
                tried[side] = await (_hear(tx, desk, ids) if side == "in" else _send(tx, ids))
            raise _Undo  # noqa: TRY301 - the way to end a transaction without its effects
    except _Undo:
        return tried


async def _hear(tx: Tx, desk: Desk, ids: Sequence[int]) -> list[Tried]:
    rows = await tx.fetch(QUEUE, ids, MOST_REHEARSED + 1)
    if len(rows) > MOST_REHEARSED:
        detail = f"More than {MOST_REHEARSED} records would be tried; name fewer, or those that come first."
        raise Problem(422, "REPLAY_TOO_LARGE", detail)
    stopped: dict[tuple[int, str], int] = {}
    tried: list[Tried] = []
    for row in rows:
        key = row["consumer"], row["key"]
        if key in stopped:
            tried.append(Tried(row["id"], "waits", f"behind {desk.name_of('in', stopped[key])}"))
            continue
        tried.append(await _try(tx, desk, row))
        if tried[-1].outcome == "fails":
            stopped[key] = row["id"]
    return tried


async def _try(tx: Tx, desk: Desk, row: asyncpg.Record) -> Tried:
    """One record behind a savepoint, because a statement that fails would end the whole transaction."""
    subscription = desk.subscriptions.get(row["consumer"])
    if subscription is None:
        return Tried(row["id"], "fails", f"{desk.service} does not listen to {row['topic']} any more")
    last = await tx.fetchval(LAST_TOLD)
    try:
        async with tx.connection.transaction():
            made = await replaying.take_effect(tx, row["consumer"], subscription, row, traced=False)
            told = await tx.fetch(TOLD, last)
    except Exception as error:
        if is_transient(error):
            raise
        said = str(error) if isinstance(error, replaying.NotYetError) else repr(error)
        return Tried(row["id"], "fails", f"{replaying.reason_of(error)}: {said}"[:2000])
    return Tried(row["id"], made.outcome, made.error, told)


async def _send(tx: Tx, ids: Sequence[int]) -> list[Tried]:
    """A record cannot be sent and taken back, so only what is known beforehand is said."""
    tried = []
    for row in await parked_outbox.lock(tx, ids):
        size = len(row["edited_payload"] or row["payload"])
        if size + ENVELOPE > MAX_BATCH:
            tried.append(Tried(row["id"], "fails", f"{size} bytes do not fit a batch of {MAX_BATCH}"))
        else:
            tried.append(Tried(row["id"], "would be sent", f"the broker decides about its {size} bytes"))
    return tried
