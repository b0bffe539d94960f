"""Asking several databases when some may be away: who does not answer is named with the reason."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from aiokafka.errors import KafkaError

CONNECT_WITHIN_S: Final = 5.0
ANSWER_WITHIN_MS: Final = 20_000
UNREACHABLE: Final = (OSError, TimeoutError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError)

# The service's own role, in a session that cannot write: nothing asked here can change anything.
READ_ONLY: Final = {
    "application_name": "kb-look",
    "default_transaction_read_only": "on",
    "statement_timeout": str(ANSWER_WITHIN_MS),
    "jit": "off",
}


@dataclass(slots=True)
class Asking:
    """Sessions to the databases that answer; `silent` says why of those that do not, or did not in full."""

    sessions: Mapping[str, asyncpg.Connection]
    silent: dict[str, str] = field(default_factory=dict)

    async def rows(self, service: str, query: str, *arguments: object) -> list[Any]:
        """The answer; none when the service cannot be asked, which is then in `silent`."""
        session = self.sessions.get(service)
        if session is None:
            return []
        try:
            return list(await session.fetch(query, *arguments))
        except UNREACHABLE as error:
            self.silent.setdefault(service, why(error))
            return []

    async def row(self, service: str, query: str, *arguments: object) -> Any:  # noqa: ANN401 - a database row
        """The first row of the answer, or None."""
        return next(iter(await self.rows(service, query, *arguments)), None)


@asynccontextmanager
async def asking(databases: Mapping[str, str]) -> AsyncIterator[Asking]:
    """A session to each database that can be reached within some seconds."""
    async with AsyncExitStack() as after:
        sessions: dict[str, asyncpg.Connection] = {}
        silent: dict[str, str] = {}
        for service, dsn in databases.items():
            try:
                session = await asyncpg.connect(dsn, timeout=CONNECT_WITHIN_S, server_settings=READ_ONLY)
            except (*UNREACHABLE, ValueError) as error:
                silent[service] = why(error)
            else:
                sessions[service] = session
                after.push_async_callback(_close, session)
        yield Asking(sessions, silent)


async def _close(session: asyncpg.Connection) -> None:
    """A server that went away meanwhile has said so in the answers."""
    with suppress(*UNREACHABLE):
        await session.close(timeout=CONNECT_WITHIN_S)


def why(error: BaseException) -> str:
    """One line, without the address: it may hold a password."""
    match error:
        case asyncpg.QueryCanceledError():
            return f"did not answer within {ANSWER_WITHIN_MS // 1000} s"
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return f"its tables are not those of this release: {error}"
        case TimeoutError():
            return "did not answer in time"
        case _:
            # Kafka's errors begin with their own name.
            name, said = type(error).__name__, str(error)
            return f"{name}: {said.removeprefix(f'{name}: ')}".partition("\n")[0][:200]
