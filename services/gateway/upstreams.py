"""The services behind the gateway: one pooled HTTP client each, every wait bounded."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlencode

import aiohttp
import orjson
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, ValidationError
from yarl import URL

from services.chassis.errors import FieldError, Problem
from services.chassis.problems import unavailable
from services.chassis.telemetry import TRACER, inject
from services.gateway.settings import GatewaySettings

Name: TypeAlias = Literal["orders", "inventory", "payments"]
M = TypeVar("M", bound=BaseModel)

CONNECT_S: Final = 0.5
TOTAL_S: Final = 3.0
TIMEOUTS: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
"""`TOTAL_S` is kept by whoever calls: it covers the wait for a connection and a second try."""
MOST_CONNECTIONS: Final = 32
"""A service behind takes what arrives together as one transaction: more connections would not be quicker."""
IDLE_S: Final = 20.0
"""An idle connection is dropped before the service (30 s) drops it."""
ADDED: Final = ("User-Agent", "Accept", "Content-Type")
"""Headers the client would add by itself."""
NOT_REACHED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Nothing was sent: another replica may be asked, whatever the request is."""
BROKEN: Final = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    aiohttp.ClientPayloadError,
    aiohttp.ClientResponseError,
)
REPEATABLE: Final = frozenset({"GET", "PUT", "DELETE"})
FORWARDED: Final = ("authorization", "idempotency-key", "if-match", "if-none-match", "content-type")
"""Only these headers go on: whatever a caller invents about who he is stays outside."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def refused(self) -> bool:
        """Whether this is a problem document."""
        return self.status >= HTTPStatus.BAD_REQUEST

    @property
    def redirects(self) -> bool:
        """Whether it points elsewhere: no service of ours does."""
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a service, which any of its replicas may answer."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice has the effect of once."""
        return self.method in REPEATABLE or "idempotency-key" in self.headers

    async def by(self, replica: "Replica") -> Reply:
        """The answer of this replica."""
        url = URL(replica.url + self.path, encoded=True)
        async with replica.session.request(
            self.method, url, headers=self.headers, data=self.body or None, allow_redirects=False
        ) as answer:
            return Reply(answer.status, answer.headers, await answer.read())


@dataclass(frozen=True, slots=True)
class Replica:
    """One process of a service, and the connections to it."""

    url: str
    session: aiohttp.ClientSession


class Upstreams:
    """The clients of all services; open while the process runs."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._urls: dict[Name, str] = {
            "orders": settings.orders_url,
            "inventory": settings.inventory_url,
            "payments": settings.payments_url,
        }
        self._replicas: dict[Name, deque[Replica]] = {}

    async def open(self) -> None:
        """Make the clients, one per replica; nothing is connected yet."""
        for name, urls in self._urls.items():
            self._replicas[name] = deque(_replica(url) for url in urls.split(","))

    async def close(self) -> None:
        """Close every connection."""
        for replicas in self._replicas.values():
            for replica in replicas:
                await replica.session.close()

    def _in_turn(self, name: Name) -> tuple[Replica, Replica]:
        """Whose turn it is, and who is asked if it fails: another one, however many calls run at once."""
        replicas = self._replicas[name]
        replicas.rotate(-1)
        return replicas[0], replicas[-1]

    async def call(
        self,
        name: Name,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        query: list[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> Reply:
        """Ask a service; raises 503 when it cannot be reached or takes longer than 3 s."""
        if query:
            path = f"{path}?{urlencode(query)}"
        with TRACER.start_as_current_span(method, kind=SpanKind.CLIENT) as span:
            call = Call(method, path, _forwarded(headers), body)
            try:
                async with asyncio.timeout(TOTAL_S):
                    answer = await self._send(name, call)
            except (aiohttp.ClientError, TimeoutError) as error:
                _note(span, name, type(error).__name__)
                raise unavailable(f"The service {name} does not answer.") from error
            _note(span, name, answer.status)
            return answer

    async def _send(self, name: Name, call: Call) -> Reply:
        """Once more when nobody was reached, or the connection was dead and repeating is harmless.

        A POST may have been taken before the connection broke, so without a key it is not repeated.
        """
        first, second = self._in_turn(name)
        try:
            return await call.by(first)
        except NOT_REACHED:
            return await call.by(second)
        except BROKEN:
            if not call.repeatable:
                raise
            return await call.by(second)

    async def get(self, name: Name, path: str, model: type[M], headers: Mapping[str, str]) -> M:
        """Read one resource; raises the service's own refusal, 502 when the answer does not fit its model."""
        return parse(await self.call(name, "GET", path, headers=headers), model)


def _replica(url: str) -> Replica:
    """No proxy from the environment, no cookies, and bodies as they came."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MOST_CONNECTIONS, keepalive_timeout=IDLE_S),
        timeout=TIMEOUTS,
        headers={"Accept-Encoding": "identity"},
        skip_auto_headers=ADDED,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
    return Replica(url.strip().rstrip("/"), session)


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: headers[name] for name in FORWARDED if name in headers}
    inject(kept)
    return kept


def _note(span: trace.Span, name: Name, outcome: object) -> None:
    if span.is_recording():
        span.update_name(f"call {name}")
        key = "http.response.status_code" if isinstance(outcome, int) else "error.type"
        span.set_attribute(key, str(outcome) if key == "error.type" else int(str(outcome)))


def parse(reply: Reply, model: type[M]) -> M:
    """The answer as its model; raises the refusal it is, or 502 when it is neither."""
    if reply.refused:
        raise refusal(reply)
    try:
        return model.model_validate_json(reply.body)
    except ValidationError:
        raise Problem(502, "UPSTREAM_INVALID") from None


def refusal(reply: Reply) -> Problem:
    """The problem a service answered with, to be answered again."""
    try:
        said: dict[str, Any] = orjson.loads(reply.body)
        errors = [FieldError(**one) for one in said.get("errors", ())]
        kept = ("retry-after", "www-authenticate", "etag")
        headers = {name: reply.headers[name] for name in kept if name in reply.headers}
        return Problem(reply.status, said["code"], said["detail"], errors=errors, headers=headers)
    except (ValueError, KeyError, TypeError):
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return unavailable("A service behind the gateway failed.")
        return Problem(502, "UPSTREAM_INVALID")
