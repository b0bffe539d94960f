"""The database a piece of work is tried on again and again: kept as it was, put back, compared."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import orjson

# What two runs never share: places in sequences, transaction ids, and shards, which are hashes of new ids.
COLUMNS = """
    select c.relname as name, a.attname as column, a.attgenerated <> '' as made,
           a.attidentity <> '' or a.attname = 'part'
           or format_type(a.atttypid, null) in ('xid8', 'pg_snapshot') as private
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and a.attnum > 0 and not a.attisdropped
    order by c.relname, a.attnum
"""
NOT_COMPARED = frozenset({"reconciler_runs", "outbox_shard", "outbox_relay", "schema_migrations"})
"""When duties ran and how far the relay is: no effect of the work."""
OTHERS = """
    select count(*) from pg_stat_activity
    where datname = current_database() and application_name = 'mortal'
"""
GONE_WITHIN_S = 10.0

Tables: TypeAlias = Mapping[str, list[tuple[Any, ...]]]
"""All rows of each table, sorted."""
Rows: TypeAlias = Mapping[str, Counter[tuple[Any, ...]]]
Leaf = UUID | datetime | str | bytes


@dataclass
class Ground:
    """One database, seen by its superuser past grants and triggers."""

    admin: asyncpg.Connection
    tables: dict[str, list[str]] = field(default_factory=dict)
    """The columns that can be written, by table."""
    compared: dict[str, list[str]] = field(default_factory=dict)
    _put_back: str = ""

    async def keep(self) -> None:
        """Remember everything as it is now."""
        for row in await self.admin.fetch(COLUMNS):
            if not row["made"]:
                self.tables.setdefault(row["name"], []).append(row["column"])
            if not row["private"] and row["name"] not in NOT_COMPARED:
                self.compared.setdefault(row["name"], []).append(row["column"])
        copies = [f"create table kept.{name} as table public.{name};" for name in self.tables]
        await self.admin.execute("create schema kept;" + "".join(copies))
        self._put_back = "set session_replication_role = replica;" + "".join(
            f"delete from public.{name}; insert into public.{name} ({', '.join(columns)})"
            f" overriding system value select {', '.join(columns)} from kept.{name};"
            for name, columns in self.tables.items()
        )

    async def put_back(self) -> None:
        """Everything is again as it was kept."""
        await self.admin.execute(self._put_back + "set session_replication_role = origin;")

    async def until_alone(self) -> None:
        """Until the server has noticed that a dead process is dead, and undone what it had not committed."""
        async with asyncio.timeout(GONE_WITHIN_S):
            while await self.admin.fetchval(OTHERS):  # noqa: ASYNC110 - the server's own doing
                await asyncio.sleep(0.001)

    async def read(self, leaving_out: frozenset[str] = frozenset()) -> Tables:
        """All rows of all tables that work writes."""
        found = {}
        for name, columns in self.compared.items():
            wanted = [one for one in columns if not {name, f"{name}.{one}"} & leaving_out]
            if wanted:
                rows = await self.admin.fetch(f"select {', '.join(wanted)} from public.{name}")
                found[name] = sorted((tuple(_plain(value) for value in row) for row in rows), key=repr)
        return found


def _plain(value: Any) -> Any:  # noqa: ANN401 - any SQL type
    """The value as its parts can be compared: a body of JSON is what it says."""
    if isinstance(value, bytes | str) and value[:1] in (b"{", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401 - any SQL type
    """The single values in it."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield name
            yield from leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from leaves(one)
    elif isinstance(value, Leaf):
        yield value


def shared(runs: Iterable[Tables]) -> frozenset[Leaf]:
    """The texts, ids and times that all these runs have: what each makes anew is not among them."""
    found = [frozenset(leaf for rows in run.values() for leaf in leaves(rows)) for run in runs]
    return frozenset.intersection(*found)


def seen(run: Tables, known: frozenset[Leaf]) -> Rows:
    """The rows with everything that was made anew left blank, each as often as it is there."""
    return {name: Counter(_blank(row, known) for row in rows) for name, rows in run.items()}


def _blank(value: Any, known: frozenset[Leaf]) -> Any:  # noqa: ANN401 - any SQL type
    if isinstance(value, Mapping):
        pairs = [(_blank(name, known), _blank(one, known)) for name, one in value.items()]
        return tuple(sorted(pairs, key=repr))
    if isinstance(value, list | tuple):
        return tuple(_blank(one, known) for one in value)
    if isinstance(value, Leaf) and value not in known:
        return f"<{type(value).__name__}>"
    return value


def differences(expected: Rows, found: Rows) -> list[str]:
    """Rows too few and too many, by table."""
    return [
        f"{name}: {word} {row}"
        for name in expected
        for word, rows in (
            ("missing", expected[name] - found[name]),
            ("too many", found[name] - expected[name]),
        )
        for row in rows.elements()
    ]
