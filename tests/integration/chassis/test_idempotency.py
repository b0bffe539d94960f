"""HTTP idempotency on a real database: a request sent again has one effect and one answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.chassis import idempotency
from services.chassis.db import Database, Tx
from services.chassis.errors import Problem
from services.chassis.idempotency import Answer, Fresh, InFlight, OtherBody, Replay, Request, once

CALLER = uuid4()
EFFECT = "insert into inbox (slot, consumer, event_id) values (0, 1, $1)"
EFFECTS = "select count(*) from inbox"
AGE = "update idempotency_keys set created_at = created_at - interval '25 hours' where key = any ($1)"


@pytest.fixture
async def db(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Database]:
    own = await database("orders")
    opened = Database(own.dsn, name="test", size=10)
    yield opened
    await opened.close()


def a_request(
    key: str = "k", *, body: bytes = b"{}", caller: UUID = CALLER, route: str = "POST /v1/x"
) -> Request:
    return Request(caller, route, key, idempotency.fingerprint_of(body))


async def effects(db: Database) -> int:
    async with db.transaction() as tx:
        return int(await tx.fetchval(EFFECTS))


async def do(tx: Tx) -> Answer:
    """Some effect (a row anywhere) and an answer that names it."""
    made = uuid4()
    await tx.execute(EFFECT, made)
    return Answer(201, {"id": str(made)}, {"Location": f"/v1/x/{made}"})


async def refuse(tx: Tx) -> Answer:
    await do(tx)
    raise Problem(409, "INVALID_TRANSITION", "Not from here.", headers={"ETag": '"3"'})


async def test_the_second_time_has_the_first_answer_and_no_effect(db: Database) -> None:
    first = await once(db, a_request(), do)
    second = await once(db, a_request(), do)
    assert (first.replayed, second.replayed) == (False, True)
    assert (second.status, second.body, second.headers) == (201, first.body, first.headers)
    assert await effects(db) == 1


async def test_a_hundred_at_once_have_one_effect(db: Database) -> None:
    async def try_once() -> Answer | Problem:
        try:
            return await once(db, a_request(), do)
        except Problem as refused:
            return refused

    outcomes = await asyncio.gather(*(try_once() for _ in range(100)))
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert await effects(db) == 1
    assert len({str(answer.body) for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert {refused.code for refused in refusals} <= {"IDEMPOTENCY_KEY_IN_FLIGHT"}


async def test_in_flight_is_said_at_once_and_the_key_is_free_after_a_crash(db: Database) -> None:
    async with db.transaction() as tx:
        assert await idempotency.claim(tx, [a_request()]) == [Fresh()]
        with pytest.raises(Problem) as refused:
            await once(db, a_request(), do)
        assert (refused.value.status, refused.value.code) == (409, "IDEMPOTENCY_KEY_IN_FLIGHT")
        assert refused.value.headers["Retry-After"] == "1"
    assert (await once(db, a_request(), do)).replayed is False


async def test_another_body_under_the_same_key_is_refused(db: Database) -> None:
    await once(db, a_request(body=b'{"a":1}'), do)
    with pytest.raises(Problem) as refused:
        await once(db, a_request(body=b'{"a":2}'), do)
    assert (refused.value.status, refused.value.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await effects(db) == 1


async def test_other_callers_routes_and_keys_are_independent(db: Database) -> None:
    for other in (a_request(), a_request(caller=uuid4()), a_request(route="POST /v1/y"), a_request("K")):
        assert (await once(db, other, do)).replayed is False
    assert await effects(db) == 4


async def test_a_refusal_undoes_its_work_and_is_given_again(db: Database) -> None:
    first = await once(db, a_request(), refuse)
    assert (first.status, first.body["code"], first.headers) == (409, "INVALID_TRANSITION", {"ETag": '"3"'})
    assert await effects(db) == 0
    second = await once(db, a_request(), do)
    assert (second.replayed, second.body) == (True, first.body)
    assert await effects(db) == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (409, "CONCURRENT_UPDATE"),
        (400, "INVALID_JSON"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (412, "STALE"),
        (428, "PRECONDITION_REQUIRED"),
        (429, "QUOTA_EXCEEDED"),
        (503, "SERVICE_UNAVAILABLE"),
    ],
)
async def test_a_refusal_about_the_moment_is_not_kept(db: Database, status: int, code: str) -> None:
    async def stumble(tx: Tx) -> Answer:
        await do(tx)
        raise Problem(status, code)

    with pytest.raises(Problem):
        await once(db, a_request(), stumble)
    assert await effects(db) == 0
    assert (await once(db, a_request(), do)).replayed is False


async def test_a_failure_of_ours_is_not_kept(db: Database) -> None:
    async def fall_over(tx: Tx) -> Answer:
        await do(tx)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await once(db, a_request(), fall_over)
    assert (await once(db, a_request(), do)).replayed is False
    assert await effects(db) == 1


async def test_many_are_claimed_and_remembered_together(db: Database) -> None:
    known, used, busy = a_request("known"), a_request("used"), a_request("busy")
    await once(db, known, do)
    await once(db, used, do)
    async with db.transaction() as other:
        await idempotency.claim(other, [busy])
        async with db.transaction() as tx:
            asked = [a_request("new"), known, a_request("used", body=b"[]"), busy, a_request("new")]
            claims = await idempotency.claim(tx, asked)
            kinds = [type(claim) for claim in claims]
            assert kinds == [Fresh, Replay, OtherBody, InFlight, InFlight]  # the last: twice in one list
            await idempotency.remember(tx, [(asked[0], Answer(201, {"n": 1}))])
    async with db.transaction() as tx:
        [again] = await idempotency.claim(tx, asked[:1])
    assert again == Replay(Answer(201, {"n": 1}, {}, replayed=True))


async def test_nothing_to_claim_asks_nothing(db: Database) -> None:
    async with db.transaction() as tx:
        assert await idempotency.claim(tx, []) == []
        await idempotency.remember(tx, [])


async def test_an_answer_is_kept_for_a_day_and_swept_in_small_steps(db: Database) -> None:
    for key in ("a", "b", "c", "young"):
        await once(db, a_request(key), do)
    async with db.transaction() as tx:
        await tx.execute(AGE, ["a", "b", "c"])
    assert (await once(db, a_request("c"), do)).replayed is False  # not swept yet, and yet forgotten
    async with db.transaction() as tx:
        assert await idempotency.sweep(tx, await tx.now(), limit=1) == 1
        assert await idempotency.sweep(tx, await tx.now() + timedelta(seconds=1)) == 1
        assert await idempotency.sweep(tx, await tx.now()) == 0
    assert (await once(db, a_request("young"), do)).replayed is True
    assert (await once(db, a_request("c"), do)).replayed is True
    assert (await once(db, a_request("a"), do)).replayed is False
