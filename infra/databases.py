"""Databases and roles: one database per service, one login role that reaches nothing else."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

SERVICES = ("orders", "inventory", "payments")
"""The services that own a database."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

# Two copies of a deploy step may create the same role at the same moment; the second waits here.
ONE_AT_A_TIME = "select pg_advisory_lock(hashtext('kb_provision'))"

ROLE_EXISTS = "select exists (select from pg_roles where rolname = $1)"
DATABASE_EXISTS = "select exists (select from pg_database where datname = $1)"
QUOTED = "select quote_literal($1)"


def login_role(service: str) -> str:
    return f"kb_{service}"


def owner_role(service: str) -> str:
    return f"kb_{service}_owner"


def database_dsn(dsn: str, database: str, *, user: str | None = None, password: str | None = None) -> str:
    """The same server, another database, and another role if one is given."""
    parts = urlsplit(dsn)
    netloc = parts.netloc
    if user is not None:
        address = netloc.rpartition("@")[2]
        netloc = f"{user}:{password}@{address}" if password else f"{user}@{address}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


async def provision(admin_dsn: str, service: str, password: str, *, database: str | None = None) -> str:
    """Creates what is missing: owner role, login role, database, grants; returns the login role's DSN.

    Nobody logs in as the owner; migrations take its role. Run again, it sets the password and changes nothing
    else. The password may hold URL-safe characters only.
    """
    database = _checked(database or f"kb_{service}")
    async with _administrator(admin_dsn) as server:
        await server.execute(ONE_AT_A_TIME)
        await _create_roles(server, _checked(service), password)
        if not await server.fetchval(DATABASE_EXISTS, database):
            await server.execute(f"create database {database} owner {owner_role(service)}")
        await _close_to_others(server, service, database)
        async with _administrator(database_dsn(admin_dsn, database)) as own:
            await _grant_tables(own, service)
    return database_dsn(admin_dsn, database, user=login_role(service), password=password)


async def clone(admin_dsn: str, service: str, template: str, database: str, password: str) -> str:
    """A new database like `template`, which nobody may be connected to; returns the login role's DSN."""
    async with _administrator(admin_dsn) as server:
        owner = owner_role(service)
        await server.execute(
            f"create database {_checked(database)} template {_checked(template)} owner {owner}"
        )
        await _close_to_others(server, service, database)  # a template gives its tables, not its own grants
    return database_dsn(admin_dsn, database, user=login_role(service), password=password)


async def drop(admin_dsn: str, database: str) -> None:
    """Drops the database, if it is there, and ends the connections to it."""
    async with _administrator(admin_dsn) as server:
        await server.execute(f"drop database if exists {_checked(database)} with (force)")


async def add_statement_statistics(admin_dsn: str) -> bool:
    """Makes pg_stat_statements readable where the server has it; says whether it has."""
    async with _administrator(admin_dsn) as server:
        if await server.fetchval("show shared_preload_libraries") != "pg_stat_statements":
            return False
        await server.execute("create extension if not exists pg_stat_statements")
        return True


async def _create_roles(server: asyncpg.Connection, service: str, password: str) -> None:
    if not await server.fetchval(ROLE_EXISTS, owner_role(service)):
        await server.execute(f"create role {owner_role(service)} nologin")
    if not await server.fetchval(ROLE_EXISTS, login_role(service)):
        await server.execute(f"create role {login_role(service)} login")
    quoted = await server.fetchval(QUOTED, password)
    await server.execute(f"alter role {login_role(service)} password {quoted}")


async def _close_to_others(server: asyncpg.Connection, service: str, database: str) -> None:
    await server.execute(f"revoke all on database {database} from public")
    await server.execute(f"grant connect on database {database} to {login_role(service)}")


async def _grant_tables(own: asyncpg.Connection, service: str) -> None:
    """What the owner will create, the service may use; a migration takes rights back where rows must stay."""
    owner, login = owner_role(service), login_role(service)
    defaults = f"alter default privileges for role {owner} in schema public grant"
    await own.execute(f"grant usage on schema public to {login}")
    await own.execute(f"{defaults} select, insert, update, delete, truncate on tables to {login}")
    await own.execute(f"{defaults} usage, select on sequences to {login}")


def _checked(name: str) -> str:
    """A name that needs no quoting; anything else is our own mistake."""
    if not NAME.fullmatch(name):
        raise ValueError(f"not a plain database name: {name!r}")
    return name


@asynccontextmanager
async def _administrator(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()
