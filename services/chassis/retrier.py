"""The retrier: keys that wait behind a failed record are tried again, in order, with back-off, and released.

Record by record, each in a transaction of its own that holds the key's block FOR UPDATE. A batch that meets
the block takes it FOR SHARE, so either the batch parks behind it first and is seen here, or it waits for us
and finds the key as we left it. Everything is in the tables: any number of processes may run one of these.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from prometheus_client import Counter

from contracts.topics import consumer_number
from services.chassis import replaying
from services.chassis.backoff import pause_s
from services.chassis.consumer import Consumer, Subscription
from services.chassis.db import Database, Tx
from services.chassis.replaying import Made, Row

LOG = structlog.get_logger("retrier")
RETRIED = Counter("kb_parked_retries_total", "Retries of parked records.", ["topic", "outcome"])
LOOK_EVERY_S: Final = 1.0
LONGEST_ERROR: Final = 2000
OVERDUE_S: Final = 60
"""A key that is due for longer is tried by nobody."""

LOCK_DUE: Final = """
    select consumer, key, attempts from inbox_block
    where consumer = any($1::smallint[]) and next_at <= now()
    order by next_at
    limit 1
    for update skip locked
"""
# Never one statement with the lock: its snapshot must be taken once the key is ours, or what a batch has
# parked behind the key in between is not seen, and the key is released in front of it.
HEAD: Final = """
    select id, topic, part, kafka_offset, key, event_id, coalesce(edited_payload, payload) as payload, headers
    from inbox_parked
    where consumer = $1 and key = $2 and state = 'parked'
    order by id
    limit 1
"""
SETTLE: Final = """
    update inbox_parked
    set state = $2, outcome = $3, event_id = coalesce(event_id, $4), attempts = attempts + 1,
        reason = coalesce(nullif($5, ''), reason), error = coalesce(nullif($6, ''), error), updated_at = now()
    where id = $1
"""
RELEASE: Final = """
    delete from inbox_block as block
    using unnest($1::smallint[], $2::text[]) as ours (consumer, key)
    where block.consumer = ours.consumer and block.key = ours.key and not exists (
        select from inbox_parked as one
        where one.consumer = block.consumer and one.key = block.key and one.state = 'parked')
"""
# Those that wait longer go first, so a key with a long tail does not keep the others waiting.
GO_ON: Final = """
    update inbox_block as block set attempts = 0, next_at = now()
    from unnest($1::smallint[], $2::text[]) as ours (consumer, key)
    where block.consumer = ours.consumer and block.key = ours.key
"""
FAIL_KEY: Final = """
    update inbox_block set attempts = attempts + 1, next_at = now() + make_interval(secs => $3)
    where consumer = $1 and key = $2
"""
FAIL_RECORD: Final = """
    update inbox_parked
    set attempts = attempts + 1, last_failed_at = now(), updated_at = now(), reason = $2, error = $3
    where id = $1 and state = 'parked'
"""
OVERDUE: Final = """
    select count(*)::int
    from (select from inbox_block where next_at < now() - make_interval(secs => $1) limit $2) as waiting
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A key that is ours until the transaction ends, and the first record that waits in it, if any."""

    consumer: int
    key: str
    attempts: int
    head: Row | None


def subscriptions_of(consumer: Consumer) -> Mapping[int, Subscription[Any]]:
    """What a service hears, by consumer number."""
    return {consumer_number(consumer.service, topic): one for topic, one in consumer.subscriptions.items()}


async def keep_retrying(db: Database, consumer: Consumer, stopping: asyncio.Event) -> None:
    """Until `stopping`: retry what is due, then look again after about a second.

    Raises what the database raises when it is away: the caller runs it again.
    """
    subscriptions = subscriptions_of(consumer)
    while not stopping.is_set():
        if await retry_one(db, subscriptions):
            continue
        pause = LOOK_EVERY_S * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
        try:
            await asyncio.wait_for(stopping.wait(), pause)
        except TimeoutError:
            continue


async def overdue(tx: Tx, most: int) -> int:
    """How many keys should have been tried again a minute ago, counted up to `most`."""
    found: int = await tx.fetchval(OVERDUE, OVERDUE_S, most)
    return found


async def retry_one(db: Database, subscriptions: Mapping[int, Subscription[Any]]) -> bool:
    """Retry the first record of one key that is due, and release the key behind the last; False: none is."""
    held = None
    try:
        async with db.transaction() as tx:
            held = await _hold(tx, sorted(subscriptions))
            if held is None:
                return False
            made = await _retry_head(tx, subscriptions[held.consumer], held)
    except Exception as error:
        if held is None or held.head is None:
            raise
        await _put_off(db, held, held.head, error)
    else:
        _tell(held, made)
    return True


async def _hold(tx: Tx, numbers: list[int]) -> Held | None:
    block = await tx.fetchrow(LOCK_DUE, numbers)
    if block is None:
        return None
    head = await tx.fetchrow(HEAD, block["consumer"], block["key"])
    return Held(block["consumer"], block["key"], block["attempts"], head)


async def _retry_head(tx: Tx, subscription: Subscription[Any], held: Held) -> Made | None:
    made = None
    if held.head is not None:
        made = await replaying.take_effect(tx, held.consumer, subscription, held.head)
        await settle(tx, held.head["id"], made)
    await go_on(tx, [(held.consumer, held.key)])
    return made


async def settle(tx: Tx, parked: int, made: Made) -> None:
    """What a parked record has come to."""
    await tx.execute(SETTLE, parked, made.state, made.outcome, made.event_id, made.reason, made.error)


async def go_on(tx: Tx, keys: Sequence[tuple[int, str]]) -> None:
    """Release those of these keys in which nothing waits any more, let the others' next record be tried.

    Their blocks are locked by us.
    """
    numbers, names = [number for number, _ in keys], [name for _, name in keys]
    await tx.execute(RELEASE, numbers, names)
    await tx.execute(GO_ON, numbers, names)


async def _put_off(db: Database, held: Held, head: Row, error: Exception) -> None:
    """What the failed transaction would have said of itself; if another holds the key by now, no harm."""
    pause, reason = pause_s(held.attempts + 1), replaying.reason_of(error)
    async with db.transaction() as tx:
        await tx.execute(FAIL_KEY, held.consumer, held.key, pause)
        said = str(error) if reason == "NOT_YET" else repr(error)
        await tx.execute(FAIL_RECORD, head["id"], reason, said.replace("\x00", "\ufffd")[:LONGEST_ERROR])
    RETRIED.labels(head["topic"], "failed").inc()
    LOG.warning(
        "failed again", topic=head["topic"], key=held.key, pause_s=round(pause, 1), error=repr(error)[:500]
    )


def _tell(held: Held, made: Made | None) -> None:
    if made is None or held.head is None:
        return
    RETRIED.labels(held.head["topic"], made.outcome.partition(" ")[0]).inc()
    say = LOG.error if made.state == "dead" else LOG.info
    say("retried", topic=held.head["topic"], key=held.key, outcome=made.outcome, error=made.error)
