"""The HTTP front every service has: one app factory, one span, one log line, one kind of refusal."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from time import perf_counter
from traceback import extract_tb
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import structlog
from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis import request_span
from services.chassis.auth import TokenVerifier
from services.chassis.back_pressure import Pressure
from services.chassis.coalesce import Coalescer, Member
from services.chassis.db import Database
from services.chassis.errors import Problem
from services.chassis.limits import Limits
from services.chassis.problems import problem_of, problem_response, unavailable
from services.chassis.settings import ServiceSettings

MOST_AT_ONCE: Final = 2_000
"""Requests that one process works on; further ones are refused with 503 and `Retry-After`."""
ANSWER_WITHIN_S: Final = 2.8
"""A database that hangs becomes a 503 before the caller's own patience (3 s) ends."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
STRONG_TAG: Final = re.compile(r'"(\d{1,18})"')

QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
MOST_FRAMES: Final = 12

I = TypeVar("I")  # noqa: E741 - an item
O = TypeVar("O")  # noqa: E741 - its outcome
RunOn: TypeAlias = Callable[[Database, Sequence[Member[I]]], Awaitable[Sequence[O | Exception]]]

LOG = structlog.get_logger("http")
DURATION: Final = Histogram(
    "http_server_request_duration_seconds",
    "Time from the first byte of a request to the last of its answer",
    ("method", "route", "status"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


def make_app(
    service: str,
    *,
    routers: Sequence[APIRouter],
    state: Mapping[str, Any],
    middleware: Sequence[Middleware] = (),
    answer_within_s: float | None = ANSWER_WITHIN_S,
) -> FastAPI:
    """The app of a service; `state` holds at least its `settings` and its `db` (None without tables).

    FastAPI's own telemetry is off: its span records the query string, which may hold what a person typed.
    """
    app = FastAPI(
        title=f"kb-stylish {service}",
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_url=None,
        middleware=[Middleware(Front, answer_within_s=answer_within_s), Middleware(Limits), *middleware],
        redirect_slashes=False,
    )
    settings: ServiceSettings = state["settings"]
    app.state.verifier = TokenVerifier(settings.jwks_file, issuer=settings.issuer, audience=settings.audience)
    app.state.coalescers = {}
    for name, value in state.items():
        setattr(app.state, name, value)
    for kind in (Problem, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _refuse)
    for router in routers:
        app.include_router(router)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error), request.scope)


class Front:
    """The outermost layer: span, log line, duration; whatever nobody expected becomes a problem here."""

    def __init__(self, app: ASGIApp, *, answer_within_s: float | None) -> None:
        self.app = app
        self.answer_within_s = answer_within_s
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        exchange = Exchange(scope, send)
        self.running += 1
        with request_span.open_span(scope) as span:
            try:
                self._admit()
                async with asyncio.timeout(self.answer_within_s):
                    await self.app(exchange.scope, receive, exchange.send)
            except Exception as error:  # noqa: BLE001 - the last door: nothing may leave as a stack trace
                await exchange.fail(error, receive)
            finally:
                self.running -= 1
                exchange.record(span)

    def _admit(self) -> None:
        if self.running > MOST_AT_ONCE:
            raise unavailable("Too many requests at once.")


class Exchange:
    """One request and its answer, as far as the outermost layer cares.

    What stands in `scope["answer_headers"]` when the answer begins goes out with it, refusals included.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self.method = scope["method"]
        # HEAD is GET without the body; FastAPI knows only the methods a route names.
        self.scope: Scope = {**scope, "method": "GET"} if self.method == "HEAD" else scope
        self.headers: dict[str, str] = {}
        self.scope["answer_headers"] = self.headers
        self.respond = send
        self.status = 0
        self.started_at = perf_counter()
        self.cause: Exception | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message)
        elif self.method == "HEAD" or (self.method == "OPTIONS" and self.status == HTTPStatus.NO_CONTENT):
            message = {**message, "body": b""}
        await self.respond(message)

    def _begin(self, message: Message) -> None:
        self.status = message["status"]
        more = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        if self._is_leaving():
            more.append((b"connection", b"close"))
        message["headers"] = [*message["headers"], *more]
        if self.status == HTTPStatus.METHOD_NOT_ALLOWED:
            allow = ", ".join(self._methods())
            kept = [pair for pair in message["headers"] if pair[0] != b"allow"]
            message["headers"] = [*kept, (b"allow", allow.encode())]
            if self.method == "OPTIONS":
                self.status = message["status"] = HTTPStatus.NO_CONTENT.value
                message["headers"] = [(b"allow", allow.encode())]

    def _is_leaving(self) -> bool:
        """Whether this process is about to end: then the caller's next request must go to another one."""
        stopping: asyncio.Event | None = getattr(self.scope["app"].state, "stopping", None)
        return stopping is not None and stopping.is_set()

    def _methods(self) -> list[str]:
        """Every method of this path; a router alone names those of the first route that fits."""
        routes = self.scope["app"].router.routes

        def knows(method: str) -> bool:
            asked = {**self.scope, "method": method}
            return any(route.matches(asked)[0] is Match.FULL for route in routes)

        known = [method for method in METHODS if knows(method)]
        return [*(["HEAD"] if "GET" in known and "HEAD" not in known else []), *known, "OPTIONS"]

    async def fail(self, error: Exception, receive: Receive) -> None:
        """Answer with the problem this exception amounts to, unless an answer is already on its way."""
        self.cause = error
        if self.status:
            raise error
        await problem_response(problem_of(error), self.scope)(self.scope, receive, self.send)

    def record(self, span: trace.Span) -> None:
        """The span's last attributes, the duration and the log line, after the answer has gone."""
        route = getattr(self.scope.get("route"), "path", "") or "none"
        seconds = perf_counter() - self.started_at
        method = self.method if self.method in METHODS else "_OTHER"
        DURATION.labels(method, route, str(self.status)).observe(seconds)
        request_span.finish(span, method, route, self.status, self.cause)
        said = {"method": method, "route": route, "status": self.status, "ms": round(seconds * 1000, 1)}
        if self.status == HTTPStatus.INTERNAL_SERVER_ERROR and self.cause is not None:
            LOG.error("http_request", error=repr(self.cause)[:500], stack=_stack(self.cause), **said)
        elif route in QUIET:
            LOG.debug("http_request", **said)
        else:
            LOG.info("http_request", **said)


def _stack(error: Exception) -> list[str]:
    """Where it happened, innermost last; no values of variables, which may be a person's."""
    frames = extract_tb(error.__traceback__)[-MOST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


async def _idempotency_key(
    idempotency_key: Annotated[
        str | None, Header(description="Any text of your own, remembered for 24 h")
    ] = None,
) -> str:
    """Quoted as the draft of the header says, or bare as most clients send it."""
    bare = (idempotency_key or "").strip()
    key = bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare
    if not KEY.fullmatch(key):
        raise Problem(400, "INVALID_IDEMPOTENCY_KEY", "1 to 200 visible ASCII characters are needed.")
    return key


async def _if_match(if_match: Annotated[str | None, Header()] = None) -> int:
    if if_match is None:
        raise Problem(428, "PRECONDITION_REQUIRED", "Send the ETag you read as If-Match.")
    tag = STRONG_TAG.fullmatch(if_match.strip())
    if tag is None:
        raise Problem(400, "INVALID_IF_MATCH")
    return int(tag[1])


async def _database(request: Request) -> Database:
    db: Database = request.app.state.db
    return db


Db = Annotated[Database, Depends(_database)]
"""The service's database."""
IdempotencyKey = Annotated[str, Depends(_idempotency_key)]
"""The caller's key of this request; 400 without one."""
IfMatch = Annotated[int, Depends(_if_match)]
"""The version the caller has read; 428 without one, 400 when it is not one strong tag."""


def coalescer_of(request: Request, run_many: RunOn[I, O]) -> Coalescer[I, O]:
    """The one of this process for that function: requests in flight share its transactions."""
    known: dict[RunOn[I, O], Coalescer[I, O]] = request.app.state.coalescers
    if run_many not in known:
        known[run_many] = Coalescer(partial(run_many, request.app.state.db))
    return known[run_many]


def check_pressure(request: Request) -> None:
    """Raise 503 `OUTBOX_BACKLOG` when what was told already is not published fast enough."""
    pressure: Pressure | None = getattr(request.app.state, "pressure", None)
    if pressure is not None:
        pressure.check()


def settings_of(request: Request) -> Any:  # noqa: ANN401 - each service has its own class
    """The settings the app was made with."""
    return request.app.state.settings


def etag(version: int) -> str:
    """The strong entity tag of a row's version."""
    return f'"{version}"'


def check_version(expected: int, actual: int) -> None:
    """Raise 412 unless the caller has read what is there now."""
    if expected != actual:
        raise Problem(412, "STALE", headers={"ETag": etag(actual)})


def is_fresh(request: Request, version: int) -> bool:
    """Whether the caller's If-None-Match names this version: answer 304 then."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return etag(version) in tags or given.strip() == "*"


def not_modified(version: int) -> Response:
    """304 with the tag the caller already has."""
    return Response(status_code=304, headers={"ETag": etag(version)})
