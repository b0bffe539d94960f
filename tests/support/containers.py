"""The servers of a test run as containers, by testcontainers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from infra.broker import HERE

POSTGRES_IMAGE = "postgres:16.10"
KAFKA_IMAGE = "apache/kafka:4.3.1"
INSIDE_PORT = 9093
STARTS_WITHIN_S = 60

# The address for clients holds the mapped port, known only once the container runs: it waits for its script.
WAIT_FOR_SCRIPT = "while [ ! -s /tmp/start.sh ]; do sleep 0.05; done; exec sh /tmp/start.sh"
START_SCRIPT = """
cat > /tmp/server.properties <<'END'
{properties}
listeners=CLIENT://0.0.0.0:{inside},CONTROLLER://127.0.0.1:9094
advertised.listeners=CLIENT://{bootstrap}
controller.quorum.voters=1@127.0.0.1:9094
log.dirs=/tmp/kafka-data
END
cd /opt/kafka/bin
./kafka-storage.sh format -t $(./kafka-storage.sh random-uuid) -c /tmp/server.properties
exec ./kafka-server-start.sh /tmp/server.properties
"""


class KraftContainer(DockerContainer):
    """One broker that is its own controller; the library's own Kafka container drives another image."""

    def __init__(self) -> None:
        super().__init__(KAFKA_IMAGE, entrypoint="sh")
        self.with_exposed_ports(INSIDE_PORT).with_command(["-c", WAIT_FOR_SCRIPT])

    def bootstrap(self) -> str:
        return f"{self.get_container_host_ip()}:{self.get_exposed_port(INSIDE_PORT)}"

    def begin(self) -> None:
        """Starts, tells the broker its outside address, and waits until it serves."""
        self.start()
        properties = (HERE / "server.properties").read_text()
        script = START_SCRIPT.format(properties=properties, inside=INSIDE_PORT, bootstrap=self.bootstrap())
        self.copy_into_container(script.encode(), "/tmp/start.sh")  # noqa: S108 - inside the container
        ready = LogMessageWaitStrategy(r".*Kafka Server started.*")
        ready.with_startup_timeout(STARTS_WITHIN_S).wait_until_ready(self)


async def start_postgres(_: Path) -> tuple[str, Callable[[], Awaitable[None]]]:
    container = PostgresContainer(
        POSTGRES_IMAGE, username="postgres", password="test", dbname="postgres", driver=None
    )
    container.with_command("postgres -c fsync=off -c full_page_writes=off -c max_connections=300")
    container.with_tmpfs_mount("/var/lib/postgresql/data")
    await asyncio.to_thread(container.start)
    return container.get_connection_url(), lambda: asyncio.to_thread(container.stop)


async def start_kafka(_: Path) -> tuple[str, Callable[[], Awaitable[None]]]:
    container = KraftContainer()
    await asyncio.to_thread(container.begin)
    return container.bootstrap(), lambda: asyncio.to_thread(container.stop)
