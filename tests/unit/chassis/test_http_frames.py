"""The HTTP front: frames, paths, headers, our own failures and traces."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from services.chassis import limits
from services.chassis.errors import Problem
from tests.support.things import JSON, THING, problem
from tests.support.tokens import tokens_in

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


async def test_who_sends_two_megabytes_can_send_them_all_and_hears_why_they_are_refused(url: str) -> None:
    frame = head("PUT", f"/things/{THING}", "Content-Type: application/json", "Content-Length: 2000000")
    for heard in await asyncio.gather(*(asyncio.to_thread(talk_then_listen, url, frame) for _ in range(10))):
        assert heard.startswith(b"HTTP/1.1 413")


def talk_then_listen(url: str, frame: bytes) -> bytes:
    """As a simple client does: everything is sent, and only then is the answer read."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(frame)
        for _ in range(100):
            connection.sendall(b" " * 20_000)
        return connection.recv(65_536)


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


async def test_they_are_refused_whatever_the_server_lets_through() -> None:
    async def never(*_: object) -> None:
        raise AssertionError("nothing may be read or passed on")

    fields = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "PUT", "path": "/", "query_string": b"", "headers": fields}
    with pytest.raises(Problem) as refused:
        await limits.Limits(never)(scope, never, never)  # type: ignore[arg-type]
    assert (refused.value.status, refused.value.headers) == (400, {"Connection": "close"})


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
