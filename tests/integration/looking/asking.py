"""`kb` as a person types it, about the world of the test."""

import asyncio
from typing import Any

import asyncpg
from typer.testing import CliRunner, Result

from infra.cli import app
from tests.integration.audit.lived_in import LivedIn


def kb(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def there(world: LivedIn, **otherwise: str) -> list[str]:
    """The options that say where the world is; `orders="..."` puts another address in its place."""
    databases = world.databases | {name: dsn for name, dsn in otherwise.items() if name in world.databases}
    given = [f"--database={service}={dsn}" for service, dsn in databases.items() if dsn]
    kafka = otherwise.get("kafka", world.kafka)
    return [*given, *([f"--kafka={kafka}"] if kafka else []), f"--topic-prefix={world.prefix}"]


def value(dsn: str, query: str) -> Any:  # noqa: ANN401 - whatever the query says
    """The first value of an answer."""

    async def ask() -> Any:  # noqa: ANN401
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())
