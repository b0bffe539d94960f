"""A TCP proxy in front of PostgreSQL or Kafka: passes bytes on until it is told to misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, Self

CHUNK: Final = 65_536
LOOKS_EVERY_S: Final = 0.05
Doing = Literal["silence", "slow", "trickle", "away", "cut before", "lose answer"]
HOLDING: Final = frozenset[Doing]({"silence", "slow", "trickle"})
Matches = Callable[[bytes], bool]


def is_commit(chunk: bytes) -> bool:
    """Whether a client of PostgreSQL ends its transaction here (asyncpg sends it as a message of its own)."""
    return b"COMMIT" in chunk


def is_produce(chunk: bytes) -> bool:
    """Whether a client of Kafka sends records here: API key 0 behind the frame's length."""
    return chunk[4:6] == b"\x00\x00"


def nothing(chunk: bytes) -> bool:  # noqa: ARG001 - a matcher
    return False


@dataclass(slots=True, eq=False)
class Trouble:
    """One way to misbehave; `left` counts how many requests that match are still to suffer.

    `suffered` counts what it has hit: such requests, what was held back, or the connections that it cut.
    """

    doing: Doing
    matches: Matches = nothing
    left: int = 0
    suffered: int = 0

    def suffers(self, chunk: bytes) -> bool:
        if self.left <= 0 or not self.matches(chunk):
            return False
        self.left -= 1
        self.suffered += 1
        return True


@dataclass(slots=True, eq=False)
class Line:
    """One connection through the proxy; `losing` since its next answer shall be lost."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    losing: bool = False

    def reset(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


@dataclass(slots=True, eq=False)
class Proxy:
    """Listens on `port`, leads to `target`; `async with` it, and `with` troubles while they shall last."""

    port: int
    target: int
    slow_s: float = 0.2
    trickle_bytes_per_s: int = 65_536
    troubles: list[Trouble] = field(default_factory=list)
    lines: set[Line] = field(default_factory=set)
    pipes: set[asyncio.Task[None]] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._shut()
        self.reset()
        for pipe in self.pipes:
            pipe.cancel()
        await asyncio.gather(*self.pipes, return_exceptions=True)

    def reset(self) -> None:
        """Every connection ends at once, in both directions."""
        for line in list(self.lines):
            line.reset()

    @asynccontextmanager
    async def trouble(
        self, doing: Doing, matches: Matches = nothing, times: int = 0
    ) -> AsyncIterator[Trouble]:
        """Misbehaves so inside the block; the newest trouble decides what the others leave open."""
        one = Trouble(doing, matches, times)
        self.troubles.append(one)
        try:
            if doing == "away":
                self._shut()
                one.suffered = len(self.lines)
                self.reset()
            yield one
        finally:
            self.troubles.remove(one)
            if not self._is("away") and self.server is None:
                await self._listen()

    def _is(self, doing: Doing) -> bool:
        return any(one.doing == doing for one in self.troubles)

    async def _listen(self) -> None:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def _shut(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            there, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            client.transport.abort()
            return
        line = Line(client, server)
        if away := [one for one in self.troubles if one.doing == "away"]:
            away[-1].suffered += 1  # it came in just before the door was shut
            line.reset()
            return
        self.lines.add(line)
        for pipe in (self._requests(reader, line), self._answers(there, line)):
            task = asyncio.create_task(self._pipe(pipe, line))
            self.pipes.add(task)
            task.add_done_callback(self.pipes.discard)

    async def _pipe(self, pipe: Coroutine[None, None, None], line: Line) -> None:
        """One direction; when it ends, so does the other."""
        with contextlib.suppress(OSError):
            await pipe
        self.lines.discard(line)
        line.reset()

    async def _requests(self, reader: asyncio.StreamReader, line: Line) -> None:
        while chunk := await reader.read(CHUNK):
            await self._delayed(len(chunk))
            for one in self.troubles:
                if one.doing == "cut before" and one.suffers(chunk):
                    return
                if one.doing == "lose answer" and one.suffers(chunk):
                    line.losing = True
            line.server.write(chunk)
            await line.server.drain()

    async def _answers(self, reader: asyncio.StreamReader, line: Line) -> None:
        while chunk := await reader.read(CHUNK):
            if line.losing:
                return
            await self._delayed(len(chunk))
            line.client.write(chunk)
            await line.client.drain()

    async def _delayed(self, size: int) -> None:
        """Held back while there is silence; otherwise as long as the line is slow."""
        for one in self.troubles:
            one.suffered += one.doing in HOLDING
        while self._is("silence"):  # noqa: ASYNC110 - troubles come and go in any order
            await asyncio.sleep(LOOKS_EVERY_S)
        if self._is("slow"):
            await asyncio.sleep(self.slow_s)
        if self._is("trickle"):
            await asyncio.sleep(size / self.trickle_bytes_per_s)
