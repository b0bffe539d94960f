"""Which failures are worth a retry, and the one exception that becomes a problem answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: where (a JSON pointer) and what."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):  # noqa: N818 - named like the answer it becomes (RFC 9457)
    """A refusal that the caller must see: becomes `application/problem+json` with a stable code."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


# The whole transaction may succeed if it is simply run again.
AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.LockNotAvailableError,
)
# The server or the way to it is gone; run again once it is back. Disk full heals when space is freed, and a
# server that only reads is about to be replaced by one that writes.
AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    OSError,
    TimeoutError,
)


def is_transient(error: BaseException) -> bool:
    """Whether running the same transaction again may succeed.

    A killed connection also surfaces as asyncpg's InterfaceError, which otherwise means a mistake of ours;
    `Database.transaction` tells the two apart and raises ConnectionError for the former.
    """
    return isinstance(error, AGAIN + AWAY)


def is_out_of_time(error: BaseException) -> bool:
    """Whether a statement was cancelled, mostly for taking too long: the same again, with less, may do."""
    return isinstance(error, asyncpg.QueryCanceledError)
