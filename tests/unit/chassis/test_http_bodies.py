"""The HTTP front and bodies: whatever is wrong has a coded answer, and the next good one works."""

import json

import httpx2
import pytest

from tests.support.things import JSON, THING, problem

NOT_JSON: dict[str, bytes] = {
    "NaN": b'{"quantity":NaN}',
    "Infinity": b'{"quantity":Infinity}',
    "minus Infinity": b'{"quantity":-Infinity}',
    "a number beyond a double": b'{"quantity":1e999}',
    "5,000 digits": b'{"quantity":' + b"9" * 5_000 + b"}",
    "lone surrogate": b'{"note":"\\ud800"}',
    "lone low surrogate": b'{"note":"\\udc00"}',
    "same key twice": b'{"quantity":1,"quantity":50}',
    "same key twice, deep": b'{"lines":[{"sku":"a","sku":"b","quantity":1}]}',
    "same key twice, once escaped": b'{"quantity":1,"quantit\\u0079":2}',
    "UTF-16": '{"quantity":1}'.encode("utf-16"),
    "UTF-32": '{"quantity":1}'.encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "ISO 8859-1": '{"note":"é"}'.encode("latin-1"),
    "60,000 brackets": b"[" * 60_000,
    "2,000 levels, closed": b"[" * 2_000 + b"]" * 2_000,
    "cut": b'{"quantity":1',
    "trailing comma": b'{"quantity":1,}',
    "comment": b'{"quantity":1} // one',
    "single quotes": b"{'quantity':1}",
    "two values": b"{} {}",
    "only spaces": b"   ",
    "raw line break in a string": b'{"note":"a\nb"}',
}


@pytest.mark.parametrize("what", NOT_JSON)
async def test_what_is_not_one_plain_json_value_is_refused(client: httpx2.AsyncClient, what: str) -> None:
    answer = await client.put(f"/things/{THING}", content=NOT_JSON[what], headers=JSON)
    problem(answer, 400, "INVALID_JSON")
    again = await client.put(f"/things/{THING}", json={"quantity": 2})
    assert again.json()["body"]["quantity"] == 2


INVALID: dict[str, tuple[object, str]] = {
    "zero": ({"quantity": 0}, "/quantity"),
    "negative": ({"quantity": -1}, "/quantity"),
    "51": ({"quantity": 51}, "/quantity"),
    "a billion": ({"quantity": 10**9}, "/quantity"),
    "2^31": ({"quantity": 2**31}, "/quantity"),
    "2^63": ({"quantity": 2**63}, "/quantity"),
    "2^64": ({"quantity": 2**64}, "/quantity"),
    "true": ({"quantity": True}, "/quantity"),
    "text": ({"quantity": "7"}, "/quantity"),
    "float": ({"quantity": 1.0}, "/quantity"),
    "devanagari digits": ({"quantity": "५"}, "/quantity"),
    "underscore": ({"quantity": "1_000"}, "/quantity"),
    "spaces": ({"quantity": " 10 "}, "/quantity"),
    "null": ({"quantity": None}, "/quantity"),
    "unknown field": ({"price_paisa": 1}, "/price_paisa"),
    "unknown field with a slash": ({"a/b~c": 1}, "/a~1b~0c"),
    "unknown field, deep": ({"lines": [{"sku": "a", "quantity": 1, "total": 1}]}, "/lines/0/total"),
    "missing field": ({"lines": [{"sku": "a"}]}, "/lines/0/quantity"),
    "NUL": ({"note": "a\0b"}, "/note"),
    "NUL, deep": ({"lines": [{"sku": "\0", "quantity": 1}]}, "/lines/0/sku"),
    "array for an object": ([], ""),
    "text for an object": ("hello", ""),
    "id without dashes": ({"id": THING.replace("-", "")}, "/id"),
    "id in braces": ({"id": "{" + THING + "}"}, "/id"),
    "id as urn": ({"id": "urn:uuid:" + THING}, "/id"),
    "id in capitals": ({"id": THING.upper()}, "/id"),
    "id as a number": ({"id": 5}, "/id"),
    "naive time": ({"at": "2026-01-01T00:00:00"}, "/at"),
    "time as a number": ({"at": 1_767_225_600}, "/at"),
    "time as numeric text": ({"at": "1767225600"}, "/at"),
    "date only": ({"at": "2026-01-01"}, "/at"),
    "24:00": ({"at": "2026-01-01T24:00:00Z"}, "/at"),
    "year 9999": ({"at": "9999-12-31T23:59:59Z"}, "/at"),
    "year 1970": ({"at": "1970-01-01T00:00:00Z"}, "/at"),
    "30 February": ({"at": "2026-02-30T00:00:00Z"}, "/at"),
}


@pytest.mark.parametrize("what", INVALID)
async def test_an_invalid_field_is_named_by_its_pointer(client: httpx2.AsyncClient, what: str) -> None:
    body, pointer = INVALID[what]
    answer = await client.put(f"/things/{THING}", content=json.dumps(body).encode(), headers=JSON)
    said = problem(answer, 422, "VALIDATION_FAILED")
    assert pointer in [error["pointer"] for error in said["errors"]]


async def test_values_are_not_echoed(client: httpx2.AsyncClient) -> None:
    answer = await client.put(f"/things/{THING}", json={"quantity": "hunter2", "note": ["hunter3"]})
    assert answer.status_code == 422
    assert "hunter" not in answer.text


async def test_a_thousand_unknown_fields_are_answered_briefly(client: httpx2.AsyncClient) -> None:
    answer = await client.put(f"/things/{THING}", json={f"field_{n}": 1 for n in range(1_000)})
    assert len(problem(answer, 422, "VALIDATION_FAILED")["errors"]) == 20


@pytest.mark.parametrize(
    "note",
    [
        "<script>alert(1)</script>",
        "'; drop table orders; --",
        "{{7*7}}",
        "%s%n",
        "a\r\nb",
        "\u202eright to left",
        "e" + "\u0301" * 200,
        "👗",
        "नमस्ते",
        "\\u0000",
    ],
)
async def test_text_is_only_text(client: httpx2.AsyncClient, note: str) -> None:
    answer = await client.put(f"/things/{THING}", json={"note": note})
    assert answer.json()["body"]["note"] == note


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("2026-01-01T05:45:00+05:45", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000Z"),
    ],
)
async def test_a_time_with_an_offset_is_an_instant(client: httpx2.AsyncClient, sent: str, meant: str) -> None:
    answer = await client.put(f"/things/{THING}", json={"at": sent})
    assert answer.json()["body"]["at"] == meant


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "", "json"],
)
async def test_another_media_type_is_a_415(client: httpx2.AsyncClient, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = await client.put(f"/things/{THING}", content=b'{"quantity":1}', headers=headers)
    problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_in_utf_8_is_taken(client: httpx2.AsyncClient, kind: str) -> None:
    answer = await client.put(f"/things/{THING}", content=b'{"quantity":1}', headers={"content-type": kind})
    assert answer.status_code == 200
