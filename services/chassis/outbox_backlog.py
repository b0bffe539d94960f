"""How much is told and not yet published: asked of the tables, so that a dead relay is visible too."""

from dataclasses import dataclass
from typing import Final

import asyncpg

from services.chassis.db import Tx
from services.chassis.outbox_metrics import DEPTH, OLDEST_AGE

COUNTED: Final = 10_000
"""Rows counted, at most; a longer backlog is told as this number."""

LEFT: Final = """
    not pg_visible_in_snapshot(told.xid, shard.snap)
    and (shard.page_to is null or told.id > shard.page_after
         or not pg_visible_in_snapshot(told.xid, shard.page_to))
"""
# Starts at the oldest cursor, which is where the index leads without looking at what is published long ago.
# What of a long page is published is left out before it is counted, or the first rows of the page would be
# all that is looked at, and none of them left. Most of that is told by two numbers, without asking snapshots.
UNPUBLISHED: Final = f"""
    with oldest as (
        select min(pg_snapshot_xmax(snap)::text::bigint)::text::xid8 as xmax,
               array(select pg_snapshot_xip(snap) from outbox_shard) as xip,
               min(case when page_to is null then 0 else page_after end) as page_after,
               min(pg_snapshot_xmin(page_to)::text::bigint)::text::xid8 as page_xmin
        from outbox_shard
    ), waiting as materialized (
        (select told.part, created_at
         from outbox as told join outbox_shard as shard on shard.part = told.part
         where told.xid >= (select xmax from oldest)
               and (told.id > (select page_after from oldest) or told.xid >= (select page_xmin from oldest))
               and {LEFT}
         order by told.xid, told.id limit $1)
        union all
        select told.part, created_at
        from outbox as told join outbox_shard as shard on shard.part = told.part
        where told.xid = any((select xip from oldest)::xid8[]) and told.xid < (select xmax from oldest)
              and {LEFT}
    )
    select shard.part, count(waiting.part) as depth,
           coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as oldest_age_s
    from outbox_shard as shard left join waiting on waiting.part = shard.part
    group by shard.part
"""  # noqa: S608 - composed of constants only
OWNERS: Final = """
    select count(*) filter (where lease_until >= clock_timestamp()) as owned, count(*) as shards
    from outbox_shard
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The state of one service's outbox; the cursors it is measured by are at most `save_s` behind."""

    depth: int
    oldest_age_s: float
    shards: int
    owned: int
    """Shards that a living relay publishes."""


async def measure(connection: Tx | asyncpg.Connection, most: int = COUNTED) -> Backlog:
    """Measure, looking at no more than `most` rows, and set the gauges of each partition."""
    rows = await connection.fetch(UNPUBLISHED, most)
    for row in rows:
        DEPTH.labels(row["part"]).set(row["depth"])
        OLDEST_AGE.labels(row["part"]).set(row["oldest_age_s"])
    owners = await connection.fetchrow(OWNERS)
    assert owners is not None, "an aggregate always has one row"
    return Backlog(
        depth=sum(row["depth"] for row in rows),
        oldest_age_s=max((row["oldest_age_s"] for row in rows), default=0.0),
        shards=owners["shards"],
        owned=owners["owned"],
    )
