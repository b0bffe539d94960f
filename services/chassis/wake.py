"""Waking the relays of other processes: a hint that something was told, sent beside every transaction.

`NOTIFY` holds a lock of the whole server until its transaction is flushed, so inside a business transaction
it undoes group commit. It is sent after the commits, in no transaction, by a connection of its own, at most
every 50 ms for all that was told meanwhile, and not at all where one relay holds every shard. It carries
nothing: a hint that is lost costs one poll.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
from prometheus_client import Counter

CHANNEL: Final = "outbox_told"
HINT: Final = f"notify {CHANNEL}"
AT_MOST_EVERY_S: Final = 0.05
HINTS: Final = Counter("kb_outbox_hints_total", "Hints to relays of other processes.", ["direction"])

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Waker:
    """Passes on that this process told something, and wakes its relay when another one did."""

    def __init__(
        self, connect: Connect, *, news: asyncio.Event, wake: Callable[[], None], alone: Callable[[], bool]
    ) -> None:
        self._connect = connect
        self._news = news
        self._wake = wake
        self._alone = alone

    async def keep(self) -> None:
        """Hear and pass on for ever; raises what the database raises, and can be called again."""
        connection = await self._connect()
        try:
            connection.add_termination_listener(lambda _: self._news.set())
            await connection.add_listener(CHANNEL, self._hear)
            self._wake()  # for what was told while nobody listened
            while True:
                await self._pass_on(connection)
        finally:
            connection.terminate()

    async def _pass_on(self, connection: asyncpg.Connection) -> None:
        await self._news.wait()
        self._news.clear()
        if connection.is_closed():
            raise ConnectionError("the connection that listens was lost")
        if not self._alone():
            await connection.execute(HINT)
            HINTS.labels("sent").inc()
        await asyncio.sleep(AT_MOST_EVERY_S)

    def _hear(self, connection: Any, sender: int, _channel: str, _payload: object) -> None:  # noqa: ANN401 - asyncpg hands out a proxy
        if sender != connection.get_server_pid():  # what we told ourselves, the commit has woken us for
            HINTS.labels("heard").inc()
            self._wake()
