"""Faults of the lines to PostgreSQL and Kafka, and of those who sit on a lock at the other end."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from tests.chaos.ground import Ground, Injection, a_little_longer, chance_of, hit
from tests.chaos.proxy import Doing, Proxy, Trouble, is_commit, is_produce
from tests.chaos.schedule import Planned

THERE: Final = """
    select pid from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
      and usename <> 'postgres' and application_name is distinct from 'kb-audit'
"""
"""Connections of services: not ours, nor those of who watches."""
END: Final = "select count(*) filter (where pg_terminate_backend(pid)) from unnest($1::int[]) as chosen (pid)"
ALL: Final = 10_000
MOST_LOST: Final = 6
ROWS: Final = 200


async def end_one_connection(ground: Ground, planned: Planned) -> str:
    return await _ended(ground, planned, 1)


async def end_all_connections(ground: Ground, planned: Planned) -> str:
    return await _ended(ground, planned, ALL)


async def _ended(ground: Ground, planned: Planned, most: int) -> str:
    async with ground.admin(planned.target) as connection:
        there = [int(row["pid"]) for row in await connection.fetch(THERE)]
        ended = await connection.fetchval(END, victims(planned, there, most))
    return f"{hit(ended)} connections of {planned.target}"


def victims(planned: Planned, pids: Sequence[int], most: int) -> list[int]:
    """Which of them, chosen by the schedule's seed: the same for the same processes, in whatever order."""
    return chance_of(planned).sample(sorted(pids), min(most, len(pids)))


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
        await _somebody_suffers(trouble)
    return f"{hit(trouble.suffered)} commits of {planned.target}"


async def _somebody_suffers(trouble: Trouble) -> None:
    async def suffered() -> bool:
        return trouble.suffered > 0

    await a_little_longer(suffered)


async def lose_sent(ground: Ground, planned: Planned) -> str:
    times = chance_of(planned).randint(1, MOST_LOST)
    async with ground.broker.trouble("lose answer", is_produce, times) as trouble:
        await asyncio.sleep(planned.lasts_s)
        await _somebody_suffers(trouble)
    return f"{hit(trouble.suffered)} sends"


async def silence(ground: Ground, planned: Planned) -> str:
    return await _held(ground.databases[planned.target], planned, "silence")


async def slowness(ground: Ground, planned: Planned) -> str:
    return await _held(ground.databases[planned.target], planned, "slow")


async def trickle(ground: Ground, planned: Planned) -> str:
    return await _held(ground.databases[planned.target], planned, "trickle")


async def broker_away(ground: Ground, planned: Planned) -> str:
    """Whoever was connected is cut off, and nobody comes in."""
    async with ground.broker.trouble("away") as trouble:
        await asyncio.sleep(planned.lasts_s)
    return f"{hit(trouble.suffered)} connections"


async def _held(proxy: Proxy, planned: Planned, doing: Doing) -> str:
    async with proxy.trouble(doing) as trouble:
        await asyncio.sleep(planned.lasts_s)
        await _somebody_suffers(trouble)
    return f"{hit(trouble.suffered)} pieces on the line of {planned.target}"


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
