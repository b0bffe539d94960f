"""Customers who check out over HTTP, many at once, each on a connection that stays open.

Tokens and bodies are made before the run, so that what is measured is the front and not its callers.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from bench import catalogue
from bench.load import Progress
from bench.wire import clock
from infra.issuer import Issuer

AT_ONCE: Final = 100
OPENS_WITHIN_S: Final = 30.0
HOST: Final = "127.0.0.1"
BODY: Final = orjson.dumps(
    {
        "payment_method": "esewa",
        "shipping_address": {
            "name": "Asha Gurung",
            "phone": "+977 9800000000",
            "line1": "Lakeside 6",
            "city": "Pokhara",
            "district": "Kaski",
        },
    }
)
PLACED: Final = b"201"
TOO_BUSY: Final = b"503"
ASK_AGAIN_S: Final = 1.0
"""As the answer's Retry-After says."""


class RefusedError(RuntimeError):
    """A checkout was refused for good; its run is worth nothing."""


class Answer(NamedTuple):
    """What a checkout was answered with; not placed: the service is too busy, ask again with the key."""

    placed: bool
    retry_after: str | None


class Customers:
    """`AT_ONCE` customers take turns at one door; who is told to place an order and when, others decide."""

    def __init__(self, port: int, requests: dict[int, bytes], progress: Progress) -> None:
        self._port = port
        self._requests = requests
        self._progress = progress
        self._waiting: asyncio.Queue[int] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self) -> None:
        """Wait until the door is open, then connect."""
        async with asyncio.timeout(OPENS_WITHIN_S):
            await self._until_open()
        self._tasks = [asyncio.create_task(self._shop()) for _ in range(AT_ONCE)]

    def place(self, numbers: Sequence[int]) -> None:
        """These orders are due."""
        for number in numbers:
            self._waiting.put_nowait(number)

    def all_well(self) -> bool:
        """Whether nobody was refused so far; raises what the first of them met."""
        for task in self._tasks:
            if task.done():
                task.result()
        return True

    async def go(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _until_open(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, self._port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

    async def _shop(self) -> None:
        reader, writer = await asyncio.open_connection(HOST, self._port)
        try:
            while True:
                number = await self._waiting.get()
                self._progress.asked[number] = clock()
                writer.write(self._requests[number])
                while not (await answer_of(reader)).placed:
                    self._progress.asked_again += 1
                    await asyncio.sleep(ASK_AGAIN_S)
                    writer.write(self._requests[number])
                self._progress.answered[number] = clock()
        finally:
            writer.close()


async def answer_of(reader: asyncio.StreamReader) -> Answer:
    """The next answer on this connection; raises RefusedError for one that is neither 201 nor 503."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    body = await reader.readexactly(int(_header(lines, b"content-length") or 0))
    status = head.split(b" ", 2)[1]
    if status not in (PLACED, TOO_BUSY):
        raise RefusedError(f"{lines[0].decode()}: {body.decode(errors='replace')[:500]}")
    return Answer(status == PLACED, _header(lines, b"retry-after") if status == TOO_BUSY else None)


def _header(lines: Sequence[bytes], name: bytes) -> str | None:
    found = (value for given, _, value in (line.partition(b":") for line in lines) if given == name)
    return next((value.decode().strip() for value in found), None)


def request_of(issuer: Issuer, number: int) -> bytes:
    """The whole request of one order: its customer's own token and a key of its own."""
    token = issuer.make_token(subject=catalogue.customer(number), roles=["customer"])
    lines = (
        "POST /v1/checkouts HTTP/1.1",
        "Host: bench",
        f"Authorization: Bearer {token}",
        f"Idempotency-Key: order-{number}",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + BODY
