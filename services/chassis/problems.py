"""Every refusal as `application/problem+json`, also the ones the framework and the database make."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import asyncpg
import orjson
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from contracts.problems import CATALOGUE, ProblemType
from services.chassis.errors import AGAIN, AWAY, FieldError, Problem

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 20
LONGEST_POINTER = 200
RETRY_AFTER_S = "1"

OF_STATUS = {
    400: "INVALID_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}
"""What the framework refuses by status alone."""


def problem_of(error: Exception) -> Problem:
    """What a caller sees of this exception: never its text unless it was written for callers."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return invalid(error.errors())
        case HTTPException():
            return _of_status(error)
        case _:
            return _of_database(error)


def _of_database(error: Exception) -> Problem:
    if isinstance(error, AGAIN):
        return Problem(409, "CONCURRENT_UPDATE", "The row is busy; nothing was changed.")
    if isinstance(error, (*AWAY, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return unavailable("The database does not answer.")
    return Problem(500, "INTERNAL_ERROR", "The request failed; it was logged with this trace id.")


def unavailable(detail: str, retry_after_s: str = RETRY_AFTER_S) -> Problem:
    """503: nothing was decided, the same request may be sent again."""
    return Problem(503, "SERVICE_UNAVAILABLE", detail, headers={"Retry-After": retry_after_s})


def invalid(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """422 from pydantic's findings; values are not echoed, names of fields are."""
    found = [_field_error(error) for error in errors[:MOST_ERRORS]]
    return Problem(422, "VALIDATION_FAILED", "The request does not fit its schema.", errors=found)


def _field_error(error: Mapping[str, Any]) -> FieldError:
    where, *path = error["loc"]
    steps = path if where == "body" else [where, *path]
    pointer = "".join("/" + _escaped(str(step)) for step in steps)
    code = "UNKNOWN_FIELD" if error["type"] == "extra_forbidden" else str(error["type"]).upper()
    return FieldError(pointer[:LONGEST_POINTER], code, str(error["msg"]).removeprefix("Value error, "))


def _escaped(step: str) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return step.replace("~", "~0").replace("/", "~1")


def _of_status(error: HTTPException) -> Problem:
    ours = error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    code = OF_STATUS.get(error.status_code, "INTERNAL_ERROR" if ours else "INVALID_REQUEST")
    return Problem(
        error.status_code, code, HTTPStatus(error.status_code).description, headers=error.headers or {}
    )


def problem_response(problem: Problem, scope: Scope) -> Response:
    """The answer itself, with the trace it belongs to."""
    body = orjson.dumps(document(problem, scope.get("path", "")))
    return Response(body, problem.status, dict(problem.headers), MEDIA_TYPE)


def document(problem: Problem, path: str) -> dict[str, object]:
    """The RFC 9457 object of a refusal; `path` is the resource that was asked for."""
    kind = CATALOGUE.get(problem.code) or ProblemType(problem.status, problem.code)
    said: dict[str, object] = {
        "type": f"/problems/{kind.slug(problem.code)}",
        "title": kind.title,
        "status": problem.status,
        "detail": problem.detail or kind.title,
        "instance": quote(path, errors="replace")[:LONGEST_POINTER],
        "code": problem.code,
        "trace_id": trace.format_trace_id(trace.get_current_span().get_span_context().trace_id),
    }
    if problem.errors:
        said["errors"] = [
            {"pointer": one.pointer, "code": one.code, "detail": one.detail} for one in problem.errors
        ]
    return said | problem.extra
