"""The servers of a test run as local processes."""

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from infra import broker, postgres

# Tests make and drop hundreds of topics; what is dropped shall leave the disk at once.
KAFKA_SETTINGS = ("log.segment.delete.delay.ms=100", "log.index.size.max.bytes=65536")


async def start_postgres(folder: Path) -> tuple[str, Callable[[], Awaitable[None]]]:
    server = await postgres.start(folder / "postgres", password="test", auth="trust", fsync=False)
    return server.admin_dsn, server.stop


async def start_kafka(folder: Path) -> tuple[str, Callable[[], Awaitable[None]]]:
    node = await broker.start(folder / "kafka", extra=KAFKA_SETTINGS)
    return node.bootstrap, lambda: node.stop(signal.SIGKILL)  # its data is thrown away
