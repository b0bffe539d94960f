"""HTTP idempotency: a request sent again gets the answer of the first time, and its effect happens once."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import orjson
from fastapi import Request as HttpRequest
from starlette.responses import Response

from services.chassis import problems
from services.chassis.auth import Principal
from services.chassis.db import Database, Tx
from services.chassis.errors import Problem

NOT_STORED: Final = frozenset({"CONCURRENT_UPDATE", "IDEMPOTENCY_KEY_IN_FLIGHT", "IDEMPOTENCY_KEY_REUSED"})
"""Refusals that are about the moment, not about the request: the work is run again."""


@dataclass(frozen=True, slots=True)
class Request:
    """What makes two requests the same: who, what on, and their own key; the fingerprint is of the body."""

    caller: UUID
    route: str
    key: str
    fingerprint: bytes

    @property
    def lock(self) -> int:
        """Its advisory lock: 64 bits, so that two requests collide about never (and then get a 409)."""
        name = f"{self.caller}\n{self.route}\n{self.key}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer; `headers` are those worth repeating (Location, ETag)."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Fresh:
    """Never answered, and nobody else is at it: do the work, then `remember`."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Answered before."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class OtherBody:
    """The key came with another body before."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """Another transaction, or an earlier one of this list, is at it."""


Claim: TypeAlias = Fresh | Replay | OtherBody | InFlight

LOCK_KEYS = """
    select place, pg_try_advisory_xact_lock(number)
    from unnest($1::bigint[]) with ordinality as wanted(number, place)
"""

READ_ANSWERS = """
    select wanted.place, known.fingerprint, known.status, known.body, known.headers
    from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as wanted(caller, route, key, place)
    join idempotency_keys known using (caller, route, key)
    where known.created_at > now() - interval '24 hours'
"""

# An answer older than its day that was not swept yet gives way.
STORE_ANSWERS = """
    insert into idempotency_keys (caller, route, key, fingerprint, status, body, headers)
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[],
                         $5::smallint[], $6::jsonb[], $7::jsonb[])
    on conflict (caller, route, key) do update
    set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        headers = excluded.headers, created_at = excluded.created_at
    where idempotency_keys.created_at <= now() - interval '24 hours'
"""

SWEEP = """
    delete from idempotency_keys
    where ctid = any (array(
        select ctid from idempotency_keys
        where created_at <= $1::timestamptz - interval '24 hours'
        order by created_at
        limit $2
    ))
    returning 1
"""


async def claim(tx: Tx, requests: Sequence[Request]) -> list[Claim]:
    """What each request meets; those that are `Fresh` stay claimed until the transaction ends.

    The locks are taken by one statement and the answers read by the next: a statement sees what was
    committed before it began, so one that did both could miss an answer committed between the two.
    """
    if not requests:
        return []
    locked = {row[0] - 1: row[1] for row in await tx.fetch(LOCK_KEYS, [one.lock for one in requests])}
    columns = zip(*((one.caller, one.route, one.key) for one in requests), strict=True)
    answers = {row["place"] - 1: row for row in await tx.fetch(READ_ANSWERS, *columns)}
    seen: set[tuple[UUID, str, str]] = set()
    claims: list[Claim] = []
    for place, one in enumerate(requests):
        name = (one.caller, one.route, one.key)
        mine = locked[place] and name not in seen  # a transaction gets its own lock twice
        seen.add(name)
        claims.append(_claim(one, answers.get(place), mine=mine))
    return claims


def _claim(request: Request, known: asyncpg.Record | None, *, mine: bool) -> Claim:
    if known is None:
        return Fresh() if mine else InFlight()
    if known["fingerprint"] != request.fingerprint:
        return OtherBody()
    return Replay(Answer(known["status"], known["body"], known["headers"], replayed=True))


async def remember(tx: Tx, answered: Sequence[tuple[Request, Answer]]) -> None:
    """Store final answers beside the effects they speak of; the requests were claimed in this transaction."""
    if not answered:
        return
    rows = [_row(one, answer) for one, answer in answered]
    await tx.execute(STORE_ANSWERS, *zip(*rows, strict=True))


def _row(one: Request, answer: Answer) -> tuple[object, ...]:
    said = (answer.status, dict(answer.body), dict(answer.headers))
    return one.caller, one.route, one.key, one.fingerprint, *said


def refusal_of(claimed: OtherBody | InFlight) -> Problem:
    """The problem of a request that may not run."""
    if isinstance(claimed, OtherBody):
        return Problem(422, "IDEMPOTENCY_KEY_REUSED", "Use a new key for another request.")
    return Problem(409, "IDEMPOTENCY_KEY_IN_FLIGHT", "Ask again in a moment.", headers={"Retry-After": "1"})


Work: TypeAlias = Callable[[Tx], Awaitable[Answer]]


async def once(db: Database, request: Request, work: Work) -> Answer:
    """Run `work` in a transaction unless this request was answered before; its answer is stored with it.

    A refusal of the domain (409, 422, raised as Problem) undoes what `work` wrote and is stored by a second
    transaction: the next caller with this key gets the same refusal. Raises Problem for everything else.
    """
    try:
        return await _claim_and(db, request, work)
    except Problem as refused:
        if not is_stored(refused):
            raise
        answer = refusal_answer(refused, request.route)

    async def only_answer(_: Tx) -> Answer:
        return answer

    return await _claim_and(db, request, only_answer)


async def _claim_and(db: Database, request: Request, work: Work) -> Answer:
    async with db.transaction() as tx:
        [claimed] = await claim(tx, [request])
        match claimed:
            case Replay():
                return claimed.answer
            case Fresh():
                answer = await work(tx)
                await remember(tx, [(request, answer)])
                return answer
            case _:
                raise refusal_of(claimed)


def is_stored(refused: Problem) -> bool:
    """Whether this refusal is a final answer to the request."""
    return refused.status in {409, 422} and refused.code not in NOT_STORED


def refusal_answer(refused: Problem, route: str) -> Answer:
    """A refusal as a stored answer; its trace id stays that of the request that was refused."""
    return Answer(refused.status, problems.document(refused, route.partition(" ")[2]), refused.headers)


def fingerprint_of(body: bytes) -> bytes:
    """Of the bytes as sent: a client that repeats a request repeats them."""
    return hashlib.blake2b(body, digest_size=16).digest()


async def request_of(http: HttpRequest, caller: Principal, key: str) -> Request:
    """The identity of this HTTP request: its caller, method and path with the ids in it, key and body."""
    return Request(caller.subject, f"{http.method} {http.url.path}", key, fingerprint_of(await http.body()))


def respond(answer: Answer) -> Response:
    """The HTTP answer; one that was given before says so."""
    headers = dict(answer.headers)
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    refused = answer.status >= HTTPStatus.BAD_REQUEST
    media_type = problems.MEDIA_TYPE if refused else "application/json"
    return Response(orjson.dumps(answer.body), answer.status, headers, media_type)


async def sweep(tx: Tx, now: datetime, limit: int = 500) -> int:
    """Forget answers older than a day, at most `limit`; returns how many."""
    return len(await tx.fetch(SWEEP, now, limit))
