"""Pages of lists: opaque cursors that belong to one list of one person."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from hashlib import blake2b
from typing import Annotated, Final, TypeAlias
from uuid import UUID

from fastapi import Query

from services.chassis.errors import Problem

DIGEST_BYTES: Final = 6
Limit: TypeAlias = Annotated[int, Query(ge=1, le=50)]
After: TypeAlias = Annotated[str | None, Query(max_length=100)]


def cursor_of(position: UUID, listing: str, owner: UUID) -> str:
    """The place after this id; the digest refuses one that was cut, mistyped or taken from elsewhere.

    It guards against mistakes, not against attackers: every query asks for its owner's rows alone.
    """
    return urlsafe_b64encode(position.bytes + _digest(position.bytes, listing, owner)).decode().rstrip("=")


def position_of(cursor: str | None, listing: str, owner: UUID) -> UUID | None:
    """The id to go on after; raises 422 for a cursor of anything else."""
    if cursor is None:
        return None
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (NotBase64, ValueError):
        raw = b""
    position, digest = raw[:16], raw[16:]
    if len(position) != 16 or digest != _digest(position, listing, owner):  # noqa: PLR2004 - a UUID's bytes
        raise Problem(422, "INVALID_CURSOR")
    return UUID(bytes=position)


def _digest(position: bytes, listing: str, owner: UUID) -> bytes:
    return blake2b(position + owner.bytes, digest_size=DIGEST_BYTES, person=listing.encode()).digest()
