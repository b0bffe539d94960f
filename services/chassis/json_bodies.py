"""What counts as JSON here: stricter than any parser, so that a body means one thing to everybody."""

import json
from collections.abc import Sequence
from typing import Any

import orjson

from services.chassis.errors import FieldError, Problem

NUL_ESCAPE = b"\\u0000"


class _TwiceError(ValueError):
    """The same key twice in one object: which of the two counts would depend on the reader."""


def check_json(body: bytes) -> None:
    """Raise 400 `INVALID_JSON` or 422 unless the body is one unambiguous JSON value in UTF-8.

    orjson refuses NaN and Infinity, lone surrogates, a byte order mark, other encodings, 1025 levels and
    numbers beyond a double; only the standard library lets us see a key that comes twice.
    """
    try:
        orjson.loads(body)
        value = json.loads(body, object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        # Neither parser's message is passed on: it quotes the body.
        raise Problem(400, "INVALID_JSON", "The body is not one well-formed JSON value.") from None
    if NUL_ESCAPE in body and (pointer := _nul_at(value)) is not None:
        found = [FieldError(pointer, "NUL_CHARACTER", "U+0000 cannot be stored.")]
        raise Problem(422, "VALIDATION_FAILED", "The body holds the character U+0000.", errors=found)


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def _nul_at(value: object) -> str | None:
    """The pointer of the first string with U+0000 in it; None if the escape was itself escaped."""
    match value:
        case str():
            return "" if "\0" in value else None
        case dict():
            steps = [(str(name), one) for name, one in value.items()]
        case list():
            steps = [(str(place), one) for place, one in enumerate(value)]
        case _:
            return None
    for name, one in steps:
        if "\0" in name:
            return "/"
        if (inner := _nul_at(one)) is not None:
            return f"/{name}{inner}"
    return None
