"""`kb outbox reset` as a person runs it: it explains, asks, and refuses what would do harm."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.desk import yourself
from tests.conftest import Database

FOREIGN = "update outbox_shard set snap = '900000000000:900000000000:' where part = 3"
OWNED = "update outbox_shard set owner = 'a/1', lease_until = now() + interval '1 minute' where part = 4"
LOGGED = "select format('%s %s %s: %s', actor, action, subject, reason) from operator_actions"
WHY = ("--reason", "a new server")
IS_FOREIGN = "select snap::text like '9000%' from outbox_shard where part = 3"


@pytest.fixture
async def restored(database: Callable[[str], Awaitable[Database]]) -> str:
    """A database whose relay would refuse to begin; its administrator's DSN."""
    made = await database("orders")
    await ask(made.admin_dsn, FOREIGN)
    return made.admin_dsn


async def ask(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def reset(dsn: str, *more: str, answer: str | None = None) -> Result:
    arguments = ["outbox", "reset", "--service", "orders", "--database", dsn, *WHY, *more]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=answer)


async def test_it_says_what_is_wrong_and_does_nothing_without_consent(restored: str) -> None:
    done = await reset(restored, answer="n\n")
    assert done.exit_code == 1
    assert "partitions [3] of orders" in done.output
    assert "It loses nothing" in done.output
    assert await ask(restored, IS_FOREIGN)


@pytest.mark.parametrize(("more", "answer"), [(["--yes"], None), ([], "y\n")], ids=["told to", "asked"])
async def test_with_consent_the_cursors_start_from_now(
    restored: str, more: list[str], answer: str | None
) -> None:
    done = await reset(restored, *more, answer=answer)
    assert done.exit_code == 0, done.output
    assert "0 events will be published" in done.output
    assert not await ask(restored, IS_FOREIGN)
    assert "no need" in (await reset(restored, "--yes")).output


async def test_who_did_it_and_why_is_written_down_with_it(restored: str) -> None:
    await reset(restored, answer="n\n")
    assert await ask(restored, LOGGED) is None
    await reset(restored, "--yes")
    assert await ask(restored, LOGGED) == f"{yourself()} outbox.reset orders: a new server"


async def test_without_a_reason_nothing_is_done(restored: str) -> None:
    done = await reset(restored, "--yes", "--reason", " ")
    assert done.exit_code == 2
    assert "say why" in done.output
    assert await ask(restored, IS_FOREIGN)


async def test_it_refuses_while_a_relay_publishes(restored: str) -> None:
    await ask(restored, OWNED)
    done = await reset(restored, "--yes")
    assert done.exit_code == 2
    assert "stop the service first" in done.output
    assert await ask(restored, IS_FOREIGN)


async def test_a_database_that_is_not_there_is_said_so(free_port: Callable[[], int]) -> None:
    done = await reset(f"postgresql://nobody@127.0.0.1:{free_port()}/kb_orders", "--yes")
    assert done.exit_code == 2
    assert "not possible: " in done.output


async def test_without_a_stack_it_asks_for_the_database() -> None:
    arguments = ["outbox", "reset", "--service", "orders", "--instance", "nowhere", *WHY]
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert done.exit_code == 2
    assert "give --database" in done.output
