"""Apache Kafka as a local process: fetched once, one KRaft node, own folder, free ports."""

import asyncio
import base64
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaError

from infra import processes
from infra.ports import free_port
from infra.processes import Program

HERE = Path(__file__).parent / "kafka"
CACHE = Path(__file__).parents[1] / ".cache" / "kafka"
# One node with a small heap on few cores: collecting beside the work costs a third of the broker's CPU, and
# the pauses it saves would be noticed by nobody.
HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
# Formatting takes a second, most of it the compiler warming up for work that never comes.
SHORT_LIVED = ("-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
STARTS = 3


@dataclass(frozen=True, slots=True)
class Broker:
    process: asyncio.subprocess.Process
    bootstrap: str
    log: Path

    async def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        await processes.stop(self.process, first)


def fetch(cache: Path = CACHE, pom: Path = HERE / "pom.xml") -> Path:
    """The folder of the broker's jars; Maven is asked once per pom, by one process at a time."""
    libs = cache / f"libs-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if libs.exists():
        return libs
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not libs.exists():  # another process may have been here while we waited
            _copy_dependencies(pom, libs)
    return libs


def _copy_dependencies(pom: Path, libs: Path) -> None:
    """Fills a folder beside `libs` and renames it, so `libs` is whole or absent."""
    if shutil.which("mvn") is None:
        raise processes.StartFailedError(
            "Maven (mvn) is needed once, to fetch Apache Kafka, and is not installed"
        )
    with tempfile.TemporaryDirectory(dir=libs.parent) as scratch:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={scratch}/libs"]
        command = ["mvn", "-B", "-q", "-f", str(pom), *goal]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise processes.StartFailedError(f"Maven could not fetch Apache Kafka\n{done.stdout[-3000:]}")
        (Path(scratch) / "libs").rename(libs)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def start(folder: Path, *, extra: Sequence[str] = ()) -> Broker:
    """One node, data in `folder`, answering when this returns; `extra` are lines of server.properties.

    A port lost to somebody else between choosing and listening costs another try.
    """
    for attempt in range(STARTS):
        port = free_port()
        node = await program(folder, port=port, log=folder / "kafka.log", extra=extra)
        try:
            return Broker(await processes.serve(node), f"127.0.0.1:{port}", node.log)
        except processes.StartFailedError:
            if attempt == STARTS - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


async def program(
    folder: Path, *, port: int, log: Path, extra: Sequence[str] = (), front: int | None = None
) -> Program:
    """A node ready to be run: jars there, folder formatted, settings written.

    `front` is the port it tells clients to use, when something stands in front of its own.
    """
    libs = await asyncio.to_thread(fetch)
    folder.mkdir(parents=True, exist_ok=True)
    properties = _write_properties(folder, port, front or port, extra)
    if not (folder / "data" / "meta.properties").exists():
        await _format(libs, properties, log)
    bootstrap = f"127.0.0.1:{port}"
    return Program(
        name="kafka",
        command=_java(libs, HEAP, "kafka.Kafka", str(properties)),
        log=log,
        answers=lambda: answers(bootstrap),
        env=_environment(),
    )


def _write_properties(folder: Path, port: int, told: int, extra: Sequence[str]) -> Path:
    controller = free_port()
    lines = [
        (HERE / "server.properties").read_text(),
        f"listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        f"advertised.listeners=CLIENT://127.0.0.1:{told}",
        f"controller.quorum.voters=1@127.0.0.1:{controller}",
        f"log.dirs={folder / 'data'}",
        *extra,
    ]
    target = folder / "server.properties"
    target.write_text("\n".join(lines) + "\n")
    return target


async def _format(libs: Path, properties: Path, log: Path) -> None:
    cluster = _cluster_id()
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
    command = _java(libs, SHORT_LIVED, *tool)
    await processes.run(
        Program("kafka format", command, log, answers=processes.never_asked, env=_environment())
    )


def _cluster_id() -> str:
    """A random id with the top bit clear: one that begins with `-` the tool would take for an option."""
    first, *rest = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


def _java(libs: Path, options: Sequence[str], *arguments: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
    return ["java", *options, logging, "-cp", f"{libs}/*", *arguments]


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME", "LANG") if name in os.environ}


async def answers(bootstrap: str) -> bool:
    """Whether the broker tells its metadata, which it does only when it can serve."""
    host, _, port = bootstrap.rpartition(":")
    if not await processes.accepts(host, int(port)):
        return False
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    try:
        await client.bootstrap()
    except KafkaError:
        return False
    finally:
        await client.close()
    return True
