"""What a run leaves behind: its report always; logs and tables when it was red."""

import json
import shutil
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg

from infra.databases import SERVICES as OWNERS
from infra.databases import database_dsn
from infra.stack import Stack, erase
from infra.supervisor import Report as Told
from infra.supervisor import State
from tests.chaos.report import Report

TABLES: Final = """
    select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = 'public' and relkind in ('r', 'p') and not relispartition order by relname
"""
NOT_DUMPED: Final = frozenset({"delivery_addresses"})
README: Final = """This run was red. Again: {command}

history.jsonl    what everybody did and was answered, with the faults (client "nemesis")
report.json      what was checked and found
supervision.log  when which process ended and came back
logs/            what every process said
tables/          every table of every service, as CSV
"""


async def keep(place: Path, found: Report, stack: Stack) -> None:
    """While the system still runs: the report, and the tables of a red run."""
    (place / "report.json").write_text(json.dumps(found.as_json(), indent=2, default=str))
    if found.ok:
        return
    (place / "README").write_text(README.format(command=found.command))
    for service in OWNERS:
        dsn = database_dsn(stack.addresses["postgres"], f"kb_{service}")
        connection = await asyncpg.connect(dsn)
        try:
            await _dump(connection, place / "tables" / service)
        finally:
            await connection.close()


async def _dump(connection: asyncpg.Connection, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for row in await connection.fetch(TABLES):
        name = str(row["relname"])
        if name not in NOT_DUMPED:
            query, output = f'select * from "{name}"', target / f"{name}.csv"
            await connection.copy_from_query(query, output=output, format="csv", header=True)


def clear(place: Path, found: Report) -> None:
    """When the system has ended: data and secrets go, the logs of a red run stay."""
    stack = place / "stack"
    if not found.ok:
        shutil.copytree(stack / "logs", place / "logs", dirs_exist_ok=True)
    erase(stack)


def said_in(path: Path) -> Told:
    """A supervisor's report that goes to a file."""
    begun = monotonic()

    def told(name: str, state: State, detail: str) -> None:
        with path.open("a") as file:
            file.write(f"{monotonic() - begun:8.2f}  {name:14} {state} {detail}\n")

    return told
