"""Whether the system is quiet: all that is told is published, all that is published heard, no timer due."""

import asyncio
from collections.abc import Mapping
from typing import Final

import asyncpg

from infra.audit.broker import Broker
from infra.audit.topics import heard_by

LOOK_EVERY_S: Final = 0.2

UNPUBLISHED: Final = """
    select count(*) from outbox join outbox_shard as shard using (part)
    where not pg_visible_in_snapshot(xid, snap)
      and not coalesce(id <= page_after and pg_visible_in_snapshot(xid, page_to), false)
"""
REFUSED: Final = "select count(*) from outbox_parked where state in ('parked', 'retry')"
PARKED: Final = "select count(*) from inbox_parked where state = 'parked'"
DUE: Final = {
    "orders": {
        "checkouts wait for stock": """
            select count(*) from checkouts where stage in ('reserving', 'processing')
        """,
    },
    "payments": {
        "attempts are due to be checked": "select count(*) from attempts where next_check_at <= now()",
        "payment windows are due to close": """
            select count(*) from intents where status = 'AWAITING_PAYMENT' and close_at <= now()
        """,
    },
}


async def wait(
    databases: Mapping[str, asyncpg.Connection], broker: Broker, within_s: float
) -> tuple[str, ...]:
    """Returns what still moves after that time, hence nothing as soon as the system is quiet.

    Quiet is seen twice in a row: what is on its way from one place to the next may be seen in neither.
    """
    loop = asyncio.get_running_loop()
    give_up, quiet_before = loop.time() + within_s, False
    while True:
        moving = await _moving(databases, broker)
        if not moving and quiet_before:
            return ()
        if loop.time() >= give_up:
            return moving
        quiet_before = not moving
        await asyncio.sleep(LOOK_EVERY_S if moving else 0)


async def _moving(databases: Mapping[str, asyncpg.Connection], broker: Broker) -> tuple[str, ...]:
    counts = [(f"{service}: {what}", number) for service, one in databases.items()
              for what, number in (await _in_database(service, one)).items()]  # fmt: skip
    lags = [(f"{service}: records are unread", await _lag(broker, service)) for service in databases]
    return tuple(f"{what} ({number})" for what, number in counts + lags if number)


async def _in_database(service: str, connection: asyncpg.Connection) -> dict[str, int]:
    asked = {"events are unpublished": UNPUBLISHED, "events are refused by the broker": REFUSED,
             "records are parked": PARKED} | DUE.get(service, {})  # fmt: skip
    return {what: int(await connection.fetchval(query)) for what, query in asked.items()}


async def _lag(broker: Broker, service: str) -> int:
    """Records that the service hears and has not committed, over all partitions of all its topics."""
    committed = await broker.committed(service)
    heard = {*heard_by(service), *(topic for topic, _ in committed)}
    ends = await broker.ends()
    return sum(
        max(0, end - committed.get(place, 0)) for place, end in ends.items() if place[0] in heard and end
    )
