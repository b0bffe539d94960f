"""Keeps the servers that all workers of one test run share: started on the first wish, ended with the run.

Run as `python -m tests.support.keeper <folder>` by the process that controls the run. It listens on a socket
in that folder for one line, a wish ("postgres", "kafka", "template orders"), and answers with one line of
JSON. Its standard input is a pipe whose other end only the controller holds: when that closes, for whatever
reason, the servers are stopped, the folder is removed and the keeper ends. The servers in turn are bound to
the keeper by the kernel (infra/bound.py), so even a killed keeper leaves nothing running.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

from infra import databases
from tests.support import containers, local

PASSWORD = "test"
TEMPLATE = "kb_template_{service}"

Stop = Callable[[], Awaitable[None]]


class Keeper:
    """What was wished for so far; each wish is fulfilled once, however many ask at the same time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers = containers if os.environ.get("KB_INFRA") == "containers" else local
        self._answers: dict[str, str] = {}
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stops: list[Stop] = []

    async def fulfil(self, wish: str) -> str:
        """The address (for a template: its name) that answers the wish."""
        async with self._one_at_a_time[wish]:
            if wish not in self._answers:
                self._answers[wish] = await self._fulfil(*wish.split())
            return self._answers[wish]

    async def _fulfil(self, kind: str, service: str = "") -> str:
        if kind == "template":
            return await self._make_template(service)
        start = {"postgres": self._servers.start_postgres, "kafka": self._servers.start_kafka}[kind]
        address: str
        address, stop = await start(self._folder)
        self._stops.append(stop)
        return address

    async def _make_template(self, service: str) -> str:
        """A migrated database that tests are cloned from; migrating costs more than copying."""
        # Imported late: when a service's code is broken, the tests that need it shall fail, and no others.
        from services.chassis import migrate  # noqa: PLC0415

        admin, name = await self.fulfil("postgres"), TEMPLATE.format(service=service)
        await databases.provision(admin, service, PASSWORD, database=name)
        await migrate.migrate(databases.database_dsn(admin, name), service)
        return name

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wish = (await reader.readline()).decode().strip()
        try:
            answer = {"ok": await self.fulfil(wish)}
        except Exception as error:  # noqa: BLE001 - told to the test that asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # who asked may have given up
            await writer.drain()
        writer.close()

    async def stop(self) -> None:
        await asyncio.gather(*(stop() for stop in self._stops), return_exceptions=True)


async def main(folder: Path) -> None:
    keeper = Keeper(folder)
    listener = await asyncio.start_unix_server(keeper.answer, folder / "socket")
    await _controller_ends()
    listener.close()
    await keeper.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def _controller_ends() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
