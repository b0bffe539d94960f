"""The ground both contenders stand on: a private, durable PostgreSQL and a real broker, for one command."""

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import machine
from infra import broker, databases, postgres

PASSWORD: Final = "bench"  # noqa: S105 - of a server that lives as long as one command and listens on the loopback
DURABLE: Final = ("synchronous_commit=on", "full_page_writes=on")
ROOMY: Final = ("shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=15min", "track_io_timing=off")
SETTINGS_TOLD: Final = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
KAFKA_SETTINGS: Final = ("log.segment.delete.delay.ms=100",)


@dataclass(slots=True)
class Ground:
    """Where the servers are and which processes they are, for addressing them and for counting their CPU."""

    folder: Path
    admin_dsn: str
    postgres_pid: int
    bootstrap: str = ""
    broker_pid: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    templates: set[str] = field(default_factory=set)
    """Databases that are made already and cloned for every round."""
    idle_before: list[float] = field(default_factory=list)
    """The idle fraction of the machine before each measurement."""
    pace_before: list[int] = field(default_factory=list)
    """How fast a core was then: CPU microseconds of a fixed piece of work."""

    def database(self, name: str) -> str:
        """The administrator's DSN of one database."""
        return databases.database_dsn(self.admin_dsn, name)

    async def settle(self) -> None:
        """Write out what earlier rounds left, and wait (a while) for the machine to be quiet."""
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute("checkpoint")
        finally:
            await connection.close()
        self.idle_before.append(round(await machine.wait_until_quiet(), 2))
        self.pace_before.append(round(machine.pace()))

    def circumstances(self) -> dict[str, Any]:
        """What a reader of the figures must know about the servers and the machine."""
        return {"postgres": self.settings, "idle_before": self.idle_before, "pace_us": self.pace_before}


@asynccontextmanager
async def ground(*, kafka: bool = True) -> AsyncIterator[Ground]:
    """Both servers (or PostgreSQL alone), empty, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="kb-bench-"))
    folder.chmod(0o711)  # PostgreSQL may run as another user and must reach its own folder
    try:
        server = await postgres.start(
            folder / "postgres", password=PASSWORD, auth="trust", extra=(*DURABLE, *ROOMY)
        )
        try:
            made = Ground(folder, server.admin_dsn, server.process.pid)
            made.settings = await _settings(server.admin_dsn)
            await databases.add_statement_statistics(server.admin_dsn)
            async with _broker(made, wanted=kafka):
                yield made
        finally:
            await server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _broker(made: Ground, *, wanted: bool) -> AsyncIterator[None]:
    if not wanted:
        yield
        return
    node = await broker.start(made.folder / "kafka", extra=KAFKA_SETTINGS)
    made.bootstrap, made.broker_pid = node.bootstrap, node.process.pid
    try:
        yield
    finally:
        await node.stop(signal.SIGKILL)  # its data is thrown away


async def _settings(dsn: str) -> dict[str, str]:
    connection = await asyncpg.connect(dsn)
    try:
        return {name: await connection.fetchval("select current_setting($1)", name) for name in SETTINGS_TOLD}
    finally:
        await connection.close()
