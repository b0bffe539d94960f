"""Another body for a parked record: held to the contract of its topic, and to the key it already has."""

from typing import Any, Final

import orjson
from pydantic import ValidationError

from contracts.event import Event
from services.chassis.errors import FieldError, Problem
from services.chassis.outbox import MAX_PAYLOAD
from services.chassis.problems import MOST_ERRORS

LONGEST_POINTER: Final = 200


def edited_bytes(payload: dict[str, Any], event: type[Event], key: str, original: bytes | None) -> bytes:
    """The body as it will be read; raises 422 naming each field that is wrong, missing, unknown or locked."""
    data = orjson.dumps(payload)
    try:
        read = event.__pydantic_validator__.validate_json(data)
    except ValidationError as error:
        raise _refused([_field(one) for one in error.errors(include_url=False)[:MOST_ERRORS]]) from None
    # Readers skip what they do not know, so a field that is misspelt here would be lost without a word.
    known = event.model_fields.keys() | _fields_of(original)
    if unknown := sorted(payload.keys() - known):
        found = [
            FieldError(_pointer(one), "UNKNOWN_FIELD", "The topic has no such field.") for one in unknown
        ]
        raise _refused(found[:MOST_ERRORS])
    if str(read.key) != key:
        raise _refused([FieldError(_pointer(event.KEYED_BY), "LOCKED", "The key of a record stays.")])
    if len(data) > MAX_PAYLOAD:
        raise _refused([FieldError("/payload", "TOO_LARGE", f"At most {MAX_PAYLOAD} bytes.")])
    return data


def _fields_of(original: bytes | None) -> set[str]:
    """What a later release of the teller may have added, when the body can be read at all."""
    try:
        found = orjson.loads(original or b"")
    except orjson.JSONDecodeError:
        return set()
    return set(found) if isinstance(found, dict) else set()


def _field(error: Any) -> FieldError:  # noqa: ANN401 - pydantic's own kind of dict
    return FieldError(_pointer(*error["loc"]), str(error["type"]).upper(), str(error["msg"]))


def _pointer(*steps: object) -> str:
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in ("payload", *steps))
    return "".join(f"/{step}" for step in escaped)[:LONGEST_POINTER]


def _refused(errors: list[FieldError]) -> Problem:
    return Problem(422, "VALIDATION_FAILED", "The payload is not one of this topic and key.", errors=errors)
