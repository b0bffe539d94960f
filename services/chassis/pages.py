"""Pages of a list: how many rows, and a cursor that says where the next page begins."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64Error
from hashlib import blake2b
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Query, Request

from services.chassis.errors import FieldError, Problem

MOST_ROWS: Final = 50
PLAIN: Final = re.compile(r"[1-9][0-9]?")
DIGEST_BYTES: Final = 6
CURSOR_BYTES: Final = 16 + DIGEST_BYTES


async def _limit(request: Request, _: Annotated[str | None, Query(alias="limit")] = None) -> int:
    """1 to 50, once, in plain digits: `int()` would also read 1_0, 1.0 and the digits of other scripts."""
    given = request.query_params.getlist("limit")
    if not given:
        return MOST_ROWS
    if len(given) > 1 or not PLAIN.fullmatch(given[0]) or int(given[0]) > MOST_ROWS:
        errors = [FieldError("/limit", "OUT_OF_RANGE", f"A number from 1 to {MOST_ROWS}.")]
        raise Problem(422, "VALIDATION_FAILED", errors=errors)
    return int(given[0])


Limit = Annotated[int, Depends(_limit)]
"""How many rows the caller wants, at most 50; 422 for anything else."""


def cursor_of(position: UUID, *, of: str) -> str:
    """Where the next page of the list `of` begins, opaque to callers.

    The digest makes a cut, mistyped or foreign cursor a refusal instead of a wrong page. It keeps no secret:
    what a caller may see is decided by the query, whatever the position.
    """
    return urlsafe_b64encode(position.bytes + _digest(position.bytes, of)).decode().rstrip("=")


def position_of(cursor: str | None, *, of: str) -> UUID | None:
    """What `cursor_of` was given for the same list; raises 422 `INVALID_CURSOR`."""
    if cursor is None:
        return None
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (NotBase64Error, ValueError):
        raise Problem(422, "INVALID_CURSOR") from None
    if len(raw) != CURSOR_BYTES or _digest(raw[:16], of) != raw[16:]:
        raise Problem(422, "INVALID_CURSOR")
    return UUID(bytes=raw[:16])


def _digest(position: bytes, of: str) -> bytes:
    return blake2b(position + of.encode(), digest_size=DIGEST_BYTES).digest()
