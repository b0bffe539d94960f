"""Faults of the lines to PostgreSQL and Kafka, and of those who sit on a lock at the other end."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from tests.chaos.ground import Ground, Injection, chance_of, hit
from tests.chaos.proxy import Doing, Proxy, Trouble, is_commit, is_produce
from tests.chaos.schedule import Planned

END_ONE: Final = """
    select pg_terminate_backend(pid) from (
        select pid from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and usename <> 'postgres'
        order by random() limit $1
    ) as chosen
"""
ALL: Final = 10_000
MOST_LOST: Final = 6
LONGER_S: Final = 10.0
ROWS: Final = 200


async def end_one_connection(ground: Ground, planned: Planned) -> str:
    return await _ended(ground, planned, 1)


async def end_all_connections(ground: Ground, planned: Planned) -> str:
    return await _ended(ground, planned, ALL)


async def _ended(ground: Ground, planned: Planned, most: int) -> str:
    async with ground.admin(planned.target) as connection:
        ended = await connection.fetch(END_ONE, most)
    return f"{hit(len(ended))} connections of {planned.target}"


async def lose_answers(ground: Ground, planned: Planned) -> str:
    """Committed, and whoever asked for it never hears."""
    return await _suffering(ground.databases[planned.target], planned, "lose answer")


async def lose_commits(ground: Ground, planned: Planned) -> str:
    """Never committed, and the same error as if it were."""
    return await _suffering(ground.databases[planned.target], planned, "cut before")


async def _suffering(proxy: Proxy, planned: Planned, doing: Doing) -> str:
    times = chance_of(planned).randint(1, MOST_LOST)
    async with proxy.trouble(doing, is_commit, times) as trouble:
        await asyncio.sleep(planned.lasts_s)
        await _somebody_suffers(trouble, times)
    return f"{hit(times - trouble.left)} commits of {planned.target}"


async def _somebody_suffers(trouble: Trouble, times: int) -> None:
    """Where another fault has left nobody to suffer, a little longer until somebody does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGER_S):
            while trouble.left == times:  # noqa: ASYNC110 - what passes a proxy tells nobody
                await asyncio.sleep(0.1)


async def lose_sent(ground: Ground, planned: Planned) -> str:
    times = chance_of(planned).randint(1, MOST_LOST)
    async with ground.broker.trouble("lose answer", is_produce, times) as trouble:
        await asyncio.sleep(planned.lasts_s)
        await _somebody_suffers(trouble, times)
    return f"{hit(times - trouble.left)} sends"


async def silence(ground: Ground, planned: Planned) -> str:
    return await _held(ground.databases[planned.target], planned, "silence")


async def slowness(ground: Ground, planned: Planned) -> str:
    return await _held(ground.databases[planned.target], planned, "slow")


async def trickle(ground: Ground, planned: Planned) -> str:
    return await _held(ground.databases[planned.target], planned, "trickle")


async def broker_away(ground: Ground, planned: Planned) -> str:
    return await _held(ground.broker, planned, "away")


async def _held(proxy: Proxy, planned: Planned, doing: Doing) -> str:
    async with proxy.trouble(doing):
        await asyncio.sleep(planned.lasts_s)
    return planned.target


async def lock_table(ground: Ground, planned: Planned) -> str:
    service, table = planned.target.split(".")
    return await _locked(ground, planned, service, f"lock table {table} in access exclusive mode")


async def lock_rows(ground: Ground, planned: Planned) -> str:
    service, table = planned.target.split(".")
    newest = f"select from {table} order by ctid desc limit {ROWS} for update"
    return await _locked(ground, planned, service, newest)


async def _locked(ground: Ground, planned: Planned, service: str, statement: str) -> str:
    """Somebody else's transaction that stays open."""
    async with ground.admin(service) as connection, connection.transaction():
        await connection.execute("set local lock_timeout = 5000")
        await connection.execute(statement)
        await asyncio.sleep(planned.lasts_s)
    return planned.target


FAULTS: Final[Mapping[str, Injection]] = {
    "end one connection": end_one_connection,
    "end all connections": end_all_connections,
    "lose the answer to a commit": lose_answers,
    "lose a commit": lose_commits,
    "silent database": silence,
    "slow database": slowness,
    "trickling database": trickle,
    "locked table": lock_table,
    "locked rows": lock_rows,
    "broker away": broker_away,
    "lose the answer to a send": lose_sent,
}
