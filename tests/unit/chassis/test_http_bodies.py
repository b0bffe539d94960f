"""The HTTP front: whatever is wrong with a request has a coded answer, and the next good one works."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter, Depends
from pydantic import Field

from contracts.http import Ask, Id, Instant, PathSku
from contracts.problems import CATALOGUE
from services.chassis import limits
from services.chassis.auth import Principal, require
from services.chassis.errors import Problem
from services.chassis.http import IdempotencyKey, IfMatch, check_version, make_app
from services.chassis.settings import ServiceSettings
from tests.support.tokens import AUDIENCE, NAME, tokens_in
from tests.support.web import serving

THING = "0190a5d4-7c1e-7000-8000-000000000000"
JSON = {"content-type": "application/json"}
router = APIRouter()


class Line(Ask):
    sku: str
    quantity: Annotated[int, Field(ge=1, le=50)]


class Wanted(Ask):
    """A body with one of everything."""

    quantity: Annotated[int, Field(ge=1, le=50)] = 1
    id: Id | None = None
    at: Instant | None = None
    note: str = ""
    lines: list[Line] = Field(default_factory=list)


@router.put("/things/{thing}")
async def put_thing(thing: Id, body: Wanted) -> dict[str, Any]:
    return {"thing": str(thing), "body": body.model_dump(mode="json")}


@router.get("/things/{thing}")
async def get_thing(thing: Id, limit: Annotated[int, Field(ge=1, le=50)] = 20) -> dict[str, Any]:
    return {"thing": str(thing), "limit": limit}


@router.get("/skus/{sku}")
async def get_sku(sku: PathSku) -> dict[str, str]:
    return {"sku": sku}


@router.post("/keyed")
async def keyed(key: IdempotencyKey) -> dict[str, str]:
    return {"key": key}


@router.post("/versioned")
async def versioned(version: IfMatch) -> dict[str, int]:
    check_version(version, 7)
    return {"version": version}


@router.get("/mine")
async def mine(caller: Annotated[Principal, Depends(require("admin", "support"))]) -> dict[str, str]:
    return {"subject": str(caller.subject)}


FAILURES: dict[str, Exception] = {
    "bug": RuntimeError("the secret is 42"),
    "lock": asyncpg.LockNotAvailableError("busy"),
    "deadlock": asyncpg.DeadlockDetectedError("x"),
    "canceled": asyncpg.QueryCanceledError("statement timeout"),
    "pool": TimeoutError(),
    "lost": asyncpg.ConnectionDoesNotExistError("gone"),
    "closed": asyncpg.InterfaceError("connection is closed"),
    "refused": ConnectionRefusedError(),
    "domain": Problem(409, "INVALID_TRANSITION", "Not from here."),
}


@router.get("/fails/{how}")
async def fails(how: str) -> None:
    raise FAILURES[how]


@router.get("/hangs")
async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    settings = ServiceSettings(jwks_file=tokens_in(tmp_path).jwks, issuer=NAME, audience=AUDIENCE)
    app = make_app("things", routers=[router], state={"settings": settings, "db": None}, answer_within_s=0.3)
    async with serving(app) as base:
        yield base


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
        yield client


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, checked for what every one has."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    said: dict[str, Any] = answer.json()
    assert said["code"] == code
    assert said["status"] == status
    assert code in CATALOGUE
    assert said["type"] == "/problems/" + code.lower().replace("_", "-")
    assert said["instance"].startswith("/")
    assert len(said["trace_id"]) == 32
    assert int(said["trace_id"], 16) > 0
    assert said["title"]
    assert said["detail"]
    return said


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


# ---------------------------------------------------------------------------- the frame, over a raw socket


async def talk(url: str, *parts: bytes, within_s: float = 5.0) -> bytes:
    """Everything the server says until it closes, or until it has answered once and says no more."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        heard = b""
        async with asyncio.timeout(within_s):
            while b"\r\n\r\n" not in heard or b'"trace_id"' not in heard:
                more = await reader.read(65_536)
                if not more:
                    break
                heard += more
        return heard
    finally:
        writer.close()


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *fields, "", ""]).encode("latin-1")


async def test_a_body_that_says_it_is_large_is_refused_unread(url: str) -> None:
    heard = await talk(
        url, head("PUT", f"/things/{THING}", "Content-Type: application/json", "Content-Length: 52428800")
    )
    assert heard.startswith(b"HTTP/1.1 413")
    assert b"BODY_TOO_LARGE" in heard
    assert b"connection: close" in heard.lower()


async def test_a_body_that_turns_out_large_is_refused_before_it_ends(url: str) -> None:
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    frame = head("PUT", f"/things/{THING}", "Content-Type: application/json", "Transfer-Encoding: chunked")
    heard = await talk(url, frame, chunk, chunk, b"1\r\n \r\n")  # no last chunk
    assert heard.startswith(b"HTTP/1.1 413")


async def test_64_kib_are_taken(client: httpx2.AsyncClient) -> None:
    body = b'{"note":"' + b"x" * (64 * 1024 - 11) + b'"}'
    assert len(body) == limits.MOST_BODY
    assert (await client.put(f"/things/{THING}", content=body, headers=JSON)).status_code == 200
    problem(await client.put(f"/things/{THING}", content=body + b" ", headers=JSON), 413, "BODY_TOO_LARGE")


async def test_a_body_that_stops_half_way_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_WITHIN_S", 0.1)
    frame = head("PUT", f"/things/{THING}", "Content-Type: application/json", "Content-Length: 20")
    heard = await talk(url, frame, b'{"quantity"')
    assert heard.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in heard.lower()


async def test_two_ways_to_end_a_body_are_refused(url: str) -> None:
    frame = head("PUT", f"/things/{THING}", "Content-Length: 5", "Transfer-Encoding: chunked")
    assert (await talk(url, frame, b"0\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_two_lengths_are_refused(url: str) -> None:
    frame = head("PUT", f"/things/{THING}", "Content-Length: 2", "Content-Length: 3")
    assert (await talk(url, frame, b"{} ")).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("size", [9 * 1024, 200 * 1024])
async def test_a_header_that_is_too_large_is_refused(url: str, size: int) -> None:
    heard = await talk(url, head("GET", f"/things/{THING}", "Authorization: Bearer " + "a" * size))
    assert heard.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


# ---------------------------------------------------------------------------- paths, methods, headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/things/..", 422),
        ("/things/%2e%2e", 422),
        (f"/things/{THING}%00", 404),
        ("/things/" + "a" * 10_000, 404),
        (f"/things/{THING.upper()}", 422),
        ("/things/" + THING.replace("-", ""), 422),
        (f"/things/{THING}/", 404),
        (f"/things/{THING}?limit=0", 422),
        (f"/things/{THING}?limit=-1", 422),
        (f"/things/{THING}?limit=51", 422),
        (f"/things/{THING}?limit=abc", 422),
        (f"/things/{THING}?note=%00", 422),
    ],
)
async def test_a_path_that_leads_nowhere_is_a_problem(url: str, path: str, status: int) -> None:
    heard = await talk(url, head("GET", path))
    assert heard.startswith(f"HTTP/1.1 {status}".encode())
    assert b"application/problem+json" in heard


async def test_a_wrong_method_names_the_right_ones(client: httpx2.AsyncClient) -> None:
    answer = await client.delete(f"/things/{THING}")
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "OPTIONS"}
    assert (await client.request("TRACE", f"/things/{THING}")).status_code == 405


async def test_head_and_options_work_everywhere(client: httpx2.AsyncClient) -> None:
    asked = await client.head(f"/things/{THING}")
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-length"] == str(len((await client.get(f"/things/{THING}")).content))
    options = await client.options(f"/things/{THING}")
    assert (options.status_code, options.content) == (204, b"")
    assert "PUT" in options.headers["allow"]
    assert (await client.head("/nothing")).status_code == 404


@pytest.mark.parametrize("key", [None, "", '""', "a" * 201, "a b", "a\tb", "schlüssel", '"'])
async def test_a_missing_or_odd_idempotency_key_is_a_400(client: httpx2.AsyncClient, key: str | None) -> None:
    headers = [] if key is None else [(b"idempotency-key", key.encode())]
    if key == '"':
        assert (await client.post("/keyed", headers=headers)).json() == {"key": '"'}
        return
    problem(await client.post("/keyed", headers=headers), 400, "INVALID_IDEMPOTENCY_KEY")


@pytest.mark.parametrize("key", ["abc", '"abc"'])
async def test_a_key_may_be_quoted_or_bare(client: httpx2.AsyncClient, key: str) -> None:
    assert (await client.post("/keyed", headers={"idempotency-key": key})).json() == {"key": "abc"}


@pytest.mark.parametrize(
    ("tag", "status", "code"),
    [
        (None, 428, "PRECONDITION_REQUIRED"),
        ('"6"', 412, "STALE"),
        ("*", 400, "INVALID_IF_MATCH"),
        ('W/"7"', 400, "INVALID_IF_MATCH"),
        ("7", 400, "INVALID_IF_MATCH"),
        ('"7", "8"', 400, "INVALID_IF_MATCH"),
        ('"seven"', 400, "INVALID_IF_MATCH"),
    ],
)
async def test_a_change_needs_the_version_that_was_read(
    client: httpx2.AsyncClient, tag: str | None, status: int, code: str
) -> None:
    answer = await client.post("/versioned", headers={"if-match": tag} if tag else {})
    problem(answer, status, code)
    if code == "STALE":
        assert answer.headers["etag"] == '"7"'
    assert (await client.post("/versioned", headers={"if-match": '"7"'})).json() == {"version": 7}


async def test_who_asks_decides_what_is_answered(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    issuer = tokens_in(tmp_path).issuer
    answer = await client.get("/mine")
    problem(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    for roles, status in ((["customer"], 403), (["support"], 200), (["customer", "admin"], 200)):
        token = issuer.make_token(subject=uuid4(), roles=roles)
        assert (await client.get("/mine", headers={"authorization": f"Bearer {token}"})).status_code == status


# ---------------------------------------------------------------------------- our own failures


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("bug", 500, "INTERNAL_ERROR"),
        ("lock", 409, "CONCURRENT_UPDATE"),
        ("deadlock", 409, "CONCURRENT_UPDATE"),
        ("canceled", 503, "SERVICE_UNAVAILABLE"),
        ("pool", 503, "SERVICE_UNAVAILABLE"),
        ("lost", 503, "SERVICE_UNAVAILABLE"),
        ("closed", 503, "SERVICE_UNAVAILABLE"),
        ("refused", 503, "SERVICE_UNAVAILABLE"),
        ("domain", 409, "INVALID_TRANSITION"),
    ],
)
async def test_a_failure_is_a_problem_and_never_a_stack_trace(
    client: httpx2.AsyncClient, how: str, status: int, code: str
) -> None:
    answer = await client.get(f"/fails/{how}")
    problem(answer, status, code)
    assert "42" not in answer.json()["detail"]
    assert "Traceback" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_work_that_hangs_is_a_503(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/hangs")
    problem(answer, 503, "SERVICE_UNAVAILABLE")


# ---------------------------------------------------------------------------- traces


async def test_a_callers_trace_goes_on(client: httpx2.AsyncClient) -> None:
    trace_id = uuid4().hex
    answer = await client.get("/nothing", headers={"traceparent": f"00-{trace_id}-{'1' * 16}-01"})
    assert answer.json()["trace_id"] == trace_id


@pytest.mark.parametrize(
    "given",
    [
        "garbage",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"ff-{'a' * 32}-{'1' * 16}-01",
    ],
)
async def test_a_broken_trace_is_a_new_one(client: httpx2.AsyncClient, given: str) -> None:
    said = problem(await client.get("/nothing", headers={"traceparent": given}), 404, "NOT_FOUND")
    assert said["trace_id"] not in given
