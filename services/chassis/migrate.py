"""Migrations: plain numbered SQL, forward only; a service refuses a schema that is not its own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

SERVICES = Path(__file__).parent.parent
LOCK = 0x6B62_6D69  # any fixed number; one migrator at a time per database

LEDGER = """
    create table if not exists schema_migrations (
        name text primary key,
        checksum text not null,
        applied_at timestamptz not null default now()
    )
"""
APPLIED = "select name, checksum from schema_migrations order by name"
RECORD = "insert into schema_migrations (name, checksum) values ($1, $2)"
LEDGER_EXISTS = "select to_regclass('schema_migrations') is not null"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `<folder>/<number>_<what>.sql`, with the SHA-256 of its bytes."""

    name: str
    sql: str
    checksum: str


class ForeignSchemaError(RuntimeError):
    """The database's schema is not the one this code was written for; the message says what differs."""


def migrations_of(service: str) -> list[Migration]:
    """The chassis' migrations, then the service's own, each in the order of their numbers."""
    return [_read(path, folder) for folder in ("chassis", service) for path in _files(folder)]


def _files(folder: str) -> Sequence[Path]:
    return sorted((SERVICES / folder / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))


def _read(path: Path, folder: str) -> Migration:
    data = path.read_bytes()
    return Migration(f"{folder}/{path.stem}", data.decode(), hashlib.sha256(data).hexdigest())


def differences(expected: Sequence[Migration], applied: dict[str, str], *, complete: bool) -> list[str]:
    """What separates the applied schema from the expected one, a line each; empty when they agree.

    With `complete` a migration that is still to come counts as a difference too.
    """
    known = {migration.name: migration.checksum for migration in expected}
    said = [f"{name}: applied, but not part of this release" for name in applied if name not in known]
    said += [
        f"{name}: applied as {applied[name][:12]}, this release has {checksum[:12]}"
        for name, checksum in known.items()
        if name in applied and applied[name] != checksum
    ]
    if complete:
        said += [f"{name}: not applied" for name in known if name not in applied]
    return said


async def migrate(admin_dsn: str, service: str) -> list[str]:
    """Apply what is missing, as the role that owns the tables; returns the names applied.

    Safe to run by many at once and again. Raises ForeignSchemaError when an applied file differs.
    """
    connection = await asyncpg.connect(admin_dsn)
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
            await connection.execute(f"set local role kb_{service}_owner")
            return await _apply_missing(connection, service)
    finally:
        await connection.close()


async def _apply_missing(connection: asyncpg.Connection, service: str) -> list[str]:
    await connection.execute(LEDGER)
    await connection.execute(f"grant select on schema_migrations to kb_{service}")
    applied = {row["name"]: row["checksum"] for row in await connection.fetch(APPLIED)}
    expected = migrations_of(service)
    _refuse(service, differences(expected, applied, complete=False))
    missing = [migration for migration in expected if migration.name not in applied]
    for migration in missing:
        # The chassis' files serve every service: `:service` names the login role they grant to.
        await connection.execute(migration.sql.replace(":service", f"kb_{service}"))
        await connection.execute(RECORD, migration.name, migration.checksum)
    return [migration.name for migration in missing]


async def check_schema(connection: asyncpg.Connection, service: str) -> None:
    """Raise ForeignSchemaError unless exactly this release's migrations are applied."""
    applied: dict[str, str] = {}
    if await connection.fetchval(LEDGER_EXISTS):
        applied = {row["name"]: row["checksum"] for row in await connection.fetch(APPLIED)}
    _refuse(service, differences(migrations_of(service), applied, complete=True))


def _refuse(service: str, said: Sequence[str]) -> None:
    if said:
        msg = f"the schema of {service} is not the one of this release:\n  " + "\n  ".join(said)
        raise ForeignSchemaError(msg)
