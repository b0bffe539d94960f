"""The wire between the load generator and the processes under test: JSON lines over a local socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

LINE_LIMIT = 1 << 24
CONNECTS_WITHIN_S = 60.0

Message = dict[str, Any]


@dataclass(slots=True)
class End:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, message: Message) -> None:
        """Hand the message to the socket; its buffer is bounded by what is in flight."""
        self.writer.write(orjson.dumps(message) + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """What the other side says, until it goes away."""
        while line := await self.reader.readline():
            yield orjson.loads(line)


async def connect(socket: Path, name: str) -> End:
    """The child's side; it says its name first."""
    end = End(*await asyncio.open_unix_connection(socket, limit=LINE_LIMIT))
    end.send({"hello": name})
    return end


@dataclass(slots=True)
class Switchboard:
    """The generator's side: children by name, and one function that hears what they say."""

    heard: Callable[[str, Message], None]
    ends: dict[str, End] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, socket: Path) -> None:
        """Listen for children."""
        socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, socket, limit=LINE_LIMIT)

    async def close(self) -> None:
        """Hang up."""
        for end in self.ends.values():
            end.writer.close()
        self.ends.clear()
        if self._server is not None:
            self._server.close()

    async def wait_for(self, *names: str) -> None:
        """Return once these children have connected."""
        async with asyncio.timeout(CONNECTS_WITHIN_S):
            while not self.ends.keys() >= set(names):
                self._changed.clear()
                await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end, name = End(reader, writer), ""
        async for message in end.messages():
            if "hello" in message:
                name = message["hello"]
                self.ends[name] = end
                self._changed.set()
            else:
                self.heard(name, message)


def clock() -> float:
    """Seconds that mean the same in every process of this machine."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
