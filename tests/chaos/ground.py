"""What faults are done to: the processes, the lines between them, the gateway, and how to end it all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import asyncpg

from infra.databases import database_dsn
from infra.people import TokenMaker
from infra.stack import Stack
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import REPLICAS, SERVICES, Planned
from tests.fakes.esewa import Simulator

CONNECTS_WITHIN_S = 5.0
LONGER_S = 10.0
LOOKS_EVERY_S = 0.1


class NothingHitError(RuntimeError):
    """There was nobody to suffer from the fault, so it does not count."""


@dataclass(slots=True)
class Ground:
    """One running system, laid open; `planted` are the keys of strange records that the run has sent."""

    stack: Stack
    databases: Mapping[str, Proxy]
    broker: Proxy
    esewa: Simulator
    make_token: TokenMaker
    planted: set[bytes] = field(default_factory=set)

    @property
    def kafka(self) -> str:
        """Where the broker is first asked; it sends everybody on through the proxy."""
        return self.stack.addresses["kafka"]

    @property
    def gates(self) -> list[str]:
        return [self.stack.addresses[name] for name in replicas("gateway")]

    @asynccontextmanager
    async def admin(self, service: str) -> AsyncIterator[asyncpg.Connection]:
        """The superuser in the service's database, not through the proxy."""
        dsn = database_dsn(self.stack.addresses["postgres"], f"kb_{service}")
        connection = await asyncpg.connect(dsn, timeout=CONNECTS_WITHIN_S)
        try:
            yield connection
        finally:
            await connection.close(timeout=CONNECTS_WITHIN_S)


Injection = Callable[[Ground, Planned], Awaitable[str]]
"""Does the fault, returns when it is over, says what was hit."""


def replicas(service: str) -> list[str]:
    return [f"{service}-{number}" for number in range(REPLICAS)]


def everybody() -> list[str]:
    return [name for service in SERVICES for name in replicas(service)]


def hit(number: int) -> int:
    """So many were hit; raises NothingHitError when it is nobody."""
    if number == 0:
        raise NothingHitError("nobody was there to suffer from it")
    return number


async def a_little_longer(suffered: Callable[[], Awaitable[bool]]) -> None:
    """Where another fault has left nobody to suffer, or the run was at its end: until somebody does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGER_S):
            while not await suffered():  # noqa: ASYNC110 - neither a line nor a gateway tells it otherwise
                await asyncio.sleep(LOOKS_EVERY_S)


def chance_of(planned: Planned) -> Random:
    """What the fault decides itself is decided by the schedule's seed too."""
    return Random(planned.chance)
