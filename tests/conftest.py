"""What every test may ask for: PostgreSQL, Kafka, a database, topics, a port; all real, all its own."""

import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import hypothesis
import pytest

from contracts.topics import BY_NAME, TOPICS
from infra import databases, ports
from infra import topics as provisioning
from tests.support import run

PASSWORD: Final = "test"
KEEPER: Final = pytest.StashKey[subprocess.Popen[bytes]]()

# A slow machine is not a wrong program: examples have no deadline.
hypothesis.settings.register_profile("kb", deadline=None)
hypothesis.settings.load_profile("kb")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[KEEPER] = run.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if keeper := config.stash.get(KEEPER, None):
        run.end(keeper)


@dataclass(frozen=True, slots=True)
class Server:
    """The PostgreSQL of this run; `admin_dsn` is its superuser's, on the database `postgres`."""

    admin_dsn: str


@dataclass(frozen=True, slots=True)
class Database:
    """One test's own: `dsn` is the service's login role, `admin_dsn` the superuser in the same database."""

    service: str
    dsn: str
    admin_dsn: str


@pytest.fixture(scope="session")
def postgres() -> Server:
    return Server(run.ask("postgres"))


@pytest.fixture(scope="session")
def kafka() -> str:
    """The bootstrap address of this run's broker."""
    return run.ask("kafka")


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[Callable[[str], Awaitable[Database]]]:
    """Makes a fresh, migrated database of the service named; it is dropped after the test."""
    async with AsyncExitStack() as after:

        async def make(service: str) -> Database:
            template, name = run.ask(f"template {service}"), f"t_{service}_{uuid4().hex}"
            dsn = await databases.clone(postgres.admin_dsn, service, template, name, PASSWORD)
            after.push_async_callback(databases.drop, postgres.admin_dsn, name)
            return Database(service, dsn, databases.database_dsn(postgres.admin_dsn, name))

        yield make


@pytest.fixture
async def topics(kafka: str) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Makes the topics named, or all, under a fresh prefix and returns the prefix."""
    async with AsyncExitStack() as after:

        async def make(*names: str) -> str:
            prefix = f"t{uuid4().hex[:12]}."
            chosen = [BY_NAME[name] for name in names] or TOPICS
            created = await provisioning.create(kafka, chosen, prefix=prefix)
            after.push_async_callback(provisioning.delete, kafka, created)
            return prefix

        yield make


@pytest.fixture
def free_port() -> Callable[[], int]:
    """`free_port()`: a port on the loopback that nobody else gets while this worker lives."""
    return ports.free_port
