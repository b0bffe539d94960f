"""Ids: UUIDv7, made in Python, so that keys are ordered by time and inbox slots follow from the id."""

from uuid import UUID

from uuid_utils.compat import uuid7

DAY_MS = 86_400_000


def new_id() -> UUID:
    """A fresh UUIDv7, monotonic within this process."""
    return uuid7()


def millis_of(event_id: UUID) -> int:
    """The Unix time in milliseconds inside a UUIDv7 (RFC 9562, section 5.7)."""
    return event_id.int >> 80
