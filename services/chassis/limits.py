"""What a request may weigh and how long it may take; a body past this point is whole and is JSON."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.http.inventory import MOST_IMPORT_BYTES
from services.chassis.errors import Problem
from services.chassis.json_bodies import check_json

MOST_BODY: Final = 64 * 1024
LARGER: Final = {"/v1/admin/catalogue/imports": MOST_IMPORT_BYTES}
"""The paths whose bodies may be longer than `MOST_BODY`."""
MOST_HEADER: Final = 8 * 1024
MOST_HEADERS: Final = 32 * 1024
MOST_PATH: Final = 2 * 1024
BODY_WITHIN_S: Final = 10.0
MOST_DRAINED: Final = 4 * 1024 * 1024
DRAIN_WITHIN_S: Final = 1.0
"""A body that is too large is read up to here, so that its sender hears why; a larger one is cut off."""
CLOSE: Final = {"Connection": "close"}
JSON_TYPES: Final = frozenset({"application/json", "application/json;charset=utf-8"})


@dataclass(frozen=True, slots=True)
class Limits:
    """An ASGI layer: refuses early (raises Problem), hands the whole body on in one piece."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        _check_frame(scope, headers)
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return await self.app(scope, receive, send)
        body = await _whole_body(headers, receive, LARGER.get(scope["path"], MOST_BODY))
        if body:
            _check_media_type(headers)
            check_json(body)
        return await self.app(scope, _given(body, receive), send)


def _check_frame(scope: Scope, headers: Headers) -> None:
    if "transfer-encoding" in headers and "content-length" in headers:
        # Two readers may disagree where such a request ends (request smuggling).
        raise Problem(
            400, "INVALID_REQUEST", "Transfer-Encoding and Content-Length exclude each other.", headers=CLOSE
        )
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    if sum(sizes) > MOST_HEADERS or max(sizes, default=0) > MOST_HEADER:
        raise Problem(431, "HEADERS_TOO_LARGE", f"At most {MOST_HEADER} bytes a field.", headers=CLOSE)
    if "\0" in scope["path"] or len(scope["path"]) > MOST_PATH:
        raise Problem(404, "NOT_FOUND")
    if b"%00" in scope["query_string"]:
        raise Problem(422, "VALIDATION_FAILED", "The query holds the character U+0000.")


async def _whole_body(headers: Headers, receive: Receive, most: int) -> bytes:
    """The body, at most `most` bytes; raises 413 before reading on, 408 when it does not come."""
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and (length := int(declared[:20])) > most:
        if length <= MOST_DRAINED and "expect" not in headers:
            await _drain(receive)
        raise _too_large(most)
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await _read(receive, most)
    except TimeoutError:
        raise Problem(408, "REQUEST_TIMEOUT", f"Waited {BODY_WITHIN_S:g} s.", headers=CLOSE) from None


async def _drain(receive: Receive) -> None:
    """Read on and forget: the answer on a connection closed with bytes unread is overtaken by its reset."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_WITHIN_S):
            while (await receive()).get("more_body", False):
                pass


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "INVALID_REQUEST", "The body ended early.", headers=CLOSE)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(most: int) -> Problem:
    return Problem(413, "BODY_TOO_LARGE", f"At most {most} bytes.", headers=CLOSE)


def _check_media_type(headers: Headers) -> None:
    declared = headers.get("content-type", "").lower().replace(" ", "").replace('"', "")
    if declared not in JSON_TYPES:
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "Send application/json in UTF-8.")


def _given(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body once; afterwards only the disconnect is left to come."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
