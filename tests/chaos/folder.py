"""What a run leaves behind: its report always; logs, tables and topics when it was red."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from contracts.topics import BY_NAME
from infra.databases import SERVICES as OWNERS
from infra.databases import database_dsn
from infra.parts import ROOT
from infra.stack import Stack, erase
from infra.supervisor import Report as Told
from infra.supervisor import State
from tests.chaos.report import Report
from tests.support.topic_log import read_all

TABLES: Final = """
    select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = 'public' and relkind in ('r', 'p') and not relispartition order by relname
"""
NOT_DUMPED: Final = frozenset({"delivery_addresses"})
KEPT_WITHIN_S: Final = 60.0
README: Final = """This run was red. Again, at commit {commit}: {command}

history.jsonl    what everybody did and was answered, with the faults (client "nemesis")
report.json      what was checked and found
supervision.log  when which process ended and came back
logs/            what every process said
tables/          every table of every service, as CSV
topics.jsonl     every record of every topic
"""


async def keep(place: Path, found: Report, stack: Stack) -> None:
    """While the system still runs: the report, and the tables and topics of a red run."""
    commit = await asyncio.to_thread(_commit)
    said = {"commit": commit, **found.as_json()}
    (place / "report.json").write_text(json.dumps(said, indent=2, default=str))
    if found.ok:
        return
    (place / "README").write_text(README.format(commit=commit, command=found.command))
    await _if_possible(_tables(place / "tables", stack.addresses["postgres"]))
    await _if_possible(_topics(place / "topics.jsonl", stack.addresses["kafka"]))


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


async def _if_possible(keeping: Coroutine[None, None, None]) -> None:
    """A red run may have left no server to ask; what else there is to keep is kept then too."""
    try:
        async with asyncio.timeout(KEPT_WITHIN_S):
            await keeping
    except (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return


async def _tables(target: Path, server: str) -> None:
    for service in OWNERS:
        connection = await asyncpg.connect(database_dsn(server, f"kb_{service}"))
        try:
            await _dump(connection, target / service)
        finally:
            await connection.close()


async def _topics(target: Path, kafka: str) -> None:
    records = await read_all(kafka, list(BY_NAME))
    target.write_text("".join(json.dumps(as_line(one)) + "\n" for one in records))


def as_line(one: ConsumerRecord) -> dict[str, object]:
    """A record as it lies in its topic."""
    return {
        "topic": one.topic,
        "partition": one.partition,
        "offset": one.offset,
        "timestamp_ms": one.timestamp,
        "key": _text(one.key),
        "headers": [(name, _text(value)) for name, value in one.headers],
        "value": _text(one.value),
    }


def _text(data: bytes | None) -> str | None:
    """Readable where it is text; what is not was planted."""
    return None if data is None else data.decode(errors="backslashreplace")


async def _dump(connection: asyncpg.Connection, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for row in await connection.fetch(TABLES):
        name = str(row["relname"])
        if name not in NOT_DUMPED:
            query, output = f'select * from "{name}"', target / f"{name}.csv"
            await connection.copy_from_query(query, output=output, format="csv", header=True)


@dataclass(slots=True)
class Left:
    """What is known of a run when it has ended: nothing, unless it came to a report."""

    found: Report | None = None


@contextmanager
def cleared(place: Path) -> Iterator[Left]:
    """However the block ends, the stack's data and secrets go; its logs stay unless the run was green."""
    left = Left()
    try:
        yield left
    finally:
        stack = place / "stack"
        is_green = left.found is not None and left.found.ok
        if not is_green and (stack / "logs").exists():
            shutil.copytree(stack / "logs", place / "logs", dirs_exist_ok=True)
        erase(stack)


def said_in(path: Path) -> Told:
    """A supervisor's report that goes to a file."""
    begun = monotonic()

    def told(name: str, state: State, detail: str) -> None:
        with path.open("a") as file:
            file.write(f"{monotonic() - begun:8.2f}  {name:14} {state} {detail}\n")

    return told
