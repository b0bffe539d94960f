"""Carrying an answer to the caller, honestly or through a fault of time, transport or HTTP."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

import orjson
from starlette.types import Message, Receive, Scope, Send

from tests.fakes.esewa.faults import (
    Carriage,
    Delay,
    Drip,
    ErrorBody,
    Hang,
    Http,
    Oversized,
    Redirect,
    Reset,
)

HTML = "text/html; charset=utf-8"
JSON = "application/json"
ERROR_PAGE = b"<html><body><h1>Request could not be processed</h1></body></html>"
CHUNK_BYTES = 256 * 1024
LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished HTTP answer."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


UNAVAILABLE = Answer(503, ERROR_PAGE, HTML)


def json_answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, orjson.dumps(content), JSON, headers or {})


@dataclass(frozen=True, slots=True)
class Line:
    """The three ASGI ends of one request."""

    scope: Scope
    receive: Receive
    send: Send


async def send_answer(line: Line, answer: Answer) -> None:
    await _start(line, answer, len(answer.body))
    await line.send({"type": "http.response.body", "body": answer.body})


async def carry(
    line: Line, decide: Callable[[], Answer], fault: tuple[Carriage, random.Random] | None
) -> int:
    """Sends what `decide` says, bent by the fault, and returns the HTTP status sent (0: none)."""
    if fault is None:
        answer = decide()
        await send_answer(line, answer)
        return answer.status
    kind, chance = fault
    answer = decide() if kind.effect else UNAVAILABLE
    return await _bend(line, answer, kind, chance)


async def _bend(line: Line, answer: Answer, fault: Carriage, chance: random.Random) -> int:
    match fault:
        case Delay():
            await _pause(line, _seconds(fault, chance))
            await send_answer(line, answer)
        case Hang():
            await _until_the_caller_leaves(line)
            return 0
        case Drip():
            await _drip(line, answer, fault)
        case Reset():
            await _reset_mid_body(line, answer)
        case Oversized():
            await _blow_up(line, answer, fault.size_bytes)
        case Redirect() | Http() | ErrorBody():
            answer = _replacement(fault, answer)
            await send_answer(line, answer)
        case _:
            assert_never(fault)
    return answer.status


def _seconds(fault: Delay, chance: random.Random) -> float:
    return chance.uniform(fault.seconds, fault.up_to_seconds or fault.seconds)


def _replacement(fault: Redirect | Http | ErrorBody, answer: Answer) -> Answer:
    match fault:
        case Redirect():
            return Answer(fault.status, headers={"location": fault.location})
        case ErrorBody():
            return json_answer({"code": fault.code, "error_message": fault.message}, fault.status)
        case Http():
            retry = {} if fault.retry_after_s is None else {"retry-after": str(fault.retry_after_s)}
            body, media_type = _http_body(fault, answer)
            return Answer(fault.status, body, media_type, retry)
        case _:
            assert_never(fault)


def _http_body(fault: Http, answer: Answer) -> tuple[bytes, str]:
    match fault.body:
        case "html":
            return ERROR_PAGE, HTML
        case "empty":
            return b"", JSON
        case "json":
            return answer.body, JSON
        case "truncated":
            return answer.body[: len(answer.body) // 2], JSON
        case _:
            assert_never(fault.body)


async def _until_the_caller_leaves(line: Line) -> None:
    while (await line.receive())["type"] != "http.disconnect":
        pass


async def _pause(line: Line, seconds: float) -> None:
    """Waits, but not longer than anybody is there to hear the answer."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_until_the_caller_leaves(line), seconds)


async def _drip(line: Line, answer: Answer, fault: Drip) -> None:
    await _start(line, answer, len(answer.body))
    for start in range(0, len(answer.body), fault.chunk_bytes):
        chunk = answer.body[start : start + fault.chunk_bytes]
        await line.send({"type": "http.response.body", "body": chunk, "more_body": True})
        await _pause(line, fault.pause_s)
    await line.send({"type": "http.response.body", "body": b""})


async def _reset_mid_body(line: Line, answer: Answer) -> None:
    await _start(line, answer, len(answer.body))
    half = answer.body[: len(answer.body) // 2]
    await line.send({"type": "http.response.body", "body": half, "more_body": True})
    # ASGI has no word for this: uvicorn's `send` is a method of the cycle that holds the transport.
    transport = line.send.__self__.transport  # type: ignore[attr-defined]
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    transport.abort()
    await _until_the_caller_leaves(line)


async def _blow_up(line: Line, answer: Answer, size_bytes: int) -> None:
    padding = max(0, size_bytes - len(answer.body))
    await _start(line, answer, len(answer.body) + padding)
    while padding:
        blank = b" " * min(padding, CHUNK_BYTES)
        padding -= len(blank)
        await line.send({"type": "http.response.body", "body": blank, "more_body": True})
    await line.send({"type": "http.response.body", "body": answer.body})


async def _start(line: Line, answer: Answer, length: int) -> None:
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(length).encode()),
        *((name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()),
    ]
    start: Message = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await line.send(start)
