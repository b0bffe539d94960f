"""What is not yet published: the rows that became visible between two snapshots, read in id order.

Neither ids nor transaction ids become visible in order, so a cursor made of them loses rows or reorders keys.
A snapshot knows exactly what was visible: rows seen by the new one and not by the old one are the window.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import asyncpg

COLUMNS: Final = """
    id, xid, part, topic, key, key_seq, event_id, version, subject_kind, payload,
    correlation_id, causation_id, traceparent, created_at
"""

# One statement is both the read and the tick: its own snapshot is the window's upper bound. The snapshot
# comes along even when there is no row, so that an idle cursor moves too.
READ_WINDOW: Final = f"""
    select pg_current_snapshot()::text as snap, {COLUMNS}
    from (select) as one left join (
        select * from outbox where xid >= $1 and part = any($3)
        union all
        select * from outbox where xid = any($2) and part = any($3)
    ) as told on true
    order by id
    limit $4
"""  # noqa: S608 - only our own column list is put in

CURRENT_SNAPSHOT: Final = "select pg_current_snapshot()::text"

# Without `part`, so that the index alone answers it: a million rows are listed in a fraction of a second.
LIST_BACKLOG: Final = """
    select id, xid
    from (
        select id, xid from outbox where xid >= $1
        union all
        select id, xid from outbox where xid = any($2)
    ) as told
    where id > $3 and pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
    order by id
    limit $5
"""

READ_LISTED: Final = f"""
    select {COLUMNS}
    from unnest($1::xid8[], $2::bigint[]) as listed (xid, id)
    join outbox using (xid, id)
    where part = any($3)
    order by id
"""  # noqa: S608 - only our own column list is put in

LISTED_AT_ONCE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pg_snapshot: below `xmin` all were over, from `xmax` on none had begun, `xip` were running."""

    xmin: int
    xmax: int
    xip: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From PostgreSQL's own notation, `xmin:xmax:xip,xip`."""
        xmin, xmax, xip = text.split(":")
        return cls(int(xmin), int(xmax), tuple(int(one) for one in xip.split(",")) if xip else ())

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.xip))}"

    def sees(self, xid: int) -> bool:
        """Whether the transaction was over for this snapshot (committed, if its row is in front of us)."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.xip)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one shard is published.

    Everything visible in `snap`, and, while catching up, of what is visible in `page_to` the ids up to
    `page_after`.
    """

    snap: Snapshot
    page_to: Snapshot | None = None
    page_after: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in id order, and where each shard's cursor stands once its rows among them are published."""

    rows: Sequence[asyncpg.Record]
    cursors: dict[int, Cursor]
    full: bool
    """There is more to read at once."""


async def read_level(connection: asyncpg.Connection, cursors: dict[int, Cursor], limit: int) -> Page:
    """The rows new to these shards, none of which is catching up, in one statement for all their cursors.

    It reads from the oldest cursor; what a shard has published already is dropped here.
    """
    snaps = {cursor.snap for cursor in cursors.values()}
    xmax = min(snap.xmax for snap in snaps)
    running = {xid for snap in snaps for xid in snap.xip if xid < xmax}
    rows = await connection.fetch(READ_WINDOW, xmax, sorted(running), sorted(cursors), limit)
    snap = Snapshot.parse(rows[0]["snap"])
    full = len(rows) == limit
    told = [] if rows[0]["id"] is None else rows
    if len(snaps) > 1:
        told = [row for row in told if not cursors[row["part"]].snap.sees(row["xid"])]
    if full:
        after = rows[-1]["id"]
        return Page(told, {part: Cursor(old.snap, snap, after) for part, old in cursors.items()}, full)
    return Page(told, dict.fromkeys(cursors, Cursor(snap)), full)


@dataclass(slots=True)
class Backlog:
    """The ids between two snapshots, listed once, read in pages that cost the same however many follow."""

    snap: Snapshot
    page_to: Snapshot
    ids: list[int]
    xids: list[int]
    complete: bool
    """Nothing follows the listed ids."""

    @classmethod
    async def list(cls, connection: asyncpg.Connection, cursor: Cursor) -> Self:
        """The next ids after the cursor, at most `LISTED_AT_ONCE`; pins the upper bound if none is pinned."""
        page_to = cursor.page_to or Snapshot.parse(await connection.fetchval(CURRENT_SNAPSHOT))
        snap = cursor.snap
        rows = await connection.fetch(
            LIST_BACKLOG, snap.xmax, list(snap.xip), cursor.page_after, str(page_to), LISTED_AT_ONCE
        )
        ids, xids = [row["id"] for row in rows], [row["xid"] for row in rows]
        return cls(snap, page_to, ids, xids, complete=len(rows) < LISTED_AT_ONCE)

    def serves(self, cursor: Cursor) -> bool:
        """Whether the rows after this cursor are among those listed."""
        return (self.snap, self.page_to) == (cursor.snap, cursor.page_to) and (
            self.complete or bool(self.ids and cursor.page_after < self.ids[-1])
        )

    async def read(
        self, connection: asyncpg.Connection, parts: Sequence[int], after: int, limit: int
    ) -> Page:
        """The rows of these shards among the next `limit` ids after `after`."""
        start = bisect_right(self.ids, after)
        end = start + limit
        ids = self.ids[start:end]
        rows = await connection.fetch(READ_LISTED, self.xids[start:end], ids, parts) if ids else []
        if end >= len(self.ids) and self.complete:
            cursor = Cursor(self.page_to)
        else:
            cursor = Cursor(self.snap, self.page_to, ids[-1])
        return Page(rows, dict.fromkeys(parts, cursor), full=True)
