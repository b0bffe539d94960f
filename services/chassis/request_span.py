"""The span of one HTTP request: the trace goes on if the caller had one, else it starts here."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from starlette.types import Scope

from services.chassis.telemetry import TRACER, context_of


@contextmanager
def open_span(scope: Scope) -> Iterator[Span]:
    """The server span, current until the answer has gone. Never carries query parameters.

    Without a tracer there is still a trace id, unsampled, so that every log line and refusal can name it.
    """
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    parent = context_of(given[0].decode("latin-1") if len(given) == 1 else "")
    span = TRACER.start_span(scope["method"], parent, SpanKind.SERVER, _first_attributes(scope))
    if not span.get_span_context().is_valid:
        span = NonRecordingSpan(
            SpanContext(secrets.randbits(128) or 1, secrets.randbits(64) or 1, is_remote=False)
        )
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield span
    finally:
        span.end()
        context.detach(token)


def _first_attributes(scope: Scope) -> dict[str, Any]:
    host, port = scope.get("server") or ("", 0)
    return {
        "http.request.method": scope["method"],
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "server.address": host,
        "server.port": port or 0,
        "network.protocol.version": scope.get("http_version", "1.1"),
    }


def finish(span: Span, method: str, route: str, status: int, cause: Exception | None) -> None:
    """Name the span after the route's template and say how it ended."""
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_attribute("error.type", type(cause).__name__ if cause else str(status))
        span.set_status(Status(StatusCode.ERROR))
