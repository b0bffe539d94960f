"""Who may come in: token, role, quota; and what every operation of the document has in common."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import Request

from contracts.http.gateway import ProblemDocument
from services.chassis.auth import Principal, principal_of
from services.chassis.errors import FieldError, Problem

PROBLEM_SCHEMA: Final = {
    "application/problem+json": {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    422: {"description": "Invalid, see `errors`", "content": PROBLEM_SCHEMA},
    "default": {"description": "Refused, see `code`", "content": PROBLEM_SCHEMA},
}
"""The refusals of every operation."""
SIGNED_IN: Final[dict[str, Any]] = {"security": [{"bearer": []}]}
ANYONE: Final[dict[str, Any]] = {"security": []}

Admit = Callable[[Request], Awaitable[Principal]]


def admit(*roles: str) -> Admit:
    """A dependency: the caller, who has one of these roles and a request left; raises 401, 403, 422, 429."""
    wanted = frozenset(roles)

    async def check(request: Request) -> Principal:
        caller = await principal_of(request)
        await request.app.state.quota.take(request, caller)
        if not caller.roles & wanted:
            raise Problem(403, "FORBIDDEN")
        _check_query(request)
        return caller

    return check


async def admit_anyone(request: Request) -> None:
    """A dependency: no token needed; raises 422, 429."""
    await request.app.state.quota.take(request, None)
    _check_query(request)


async def admit_return(request: Request) -> None:
    """A dependency: a provider writes the query here, so its shape is for payments to judge; raises 429."""
    await request.app.state.quota.take(request, None)


def _check_query(request: Request) -> None:
    """A parameter that comes twice would be read differently by different servers."""
    names = Counter(name for name, _ in request.query_params.multi_items())
    twice = [name[:100] for name, count in names.items() if count > 1]
    if twice:
        errors = [FieldError(f"/query/{name}", "REPEATED", "Give it once.") for name in twice[:5]]
        raise Problem(422, "VALIDATION_FAILED", "A query parameter came twice.", errors=errors)
