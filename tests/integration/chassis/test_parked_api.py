"""Parked records over HTTP: looked at, tried, retried, replayed, edited, skipped; and all the refusals."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.payments import PaymentDeclined, PaymentReturned
from services.chassis import outbox, parked_actions
from services.chassis.consumer import Subscription
from services.chassis.db import Tx
from services.chassis.decisions import NotYet, Outgoing, Verdicts
from services.chassis.parked_actions import Desk
from services.chassis.records import Malformed, Record
from tests.support.effects import NUMBER, event
from tests.support.office import ROOT, WHY, Office, problem
from tests.support.records import headers_of, heard

HOLD = "select from inbox_block for update"


# Looking


async def test_what_is_open_is_listed_oldest_first_and_by_what_is_asked(office: Office) -> None:
    key, names = await office.poisons(1, 2)
    _, corpse = await office.kills()
    found = (await office.gets(""))["data"]
    assert [(one["record"], one["state"], one["failure"]) for one in found] == [
        (names[0], "parked", "LookupError"),
        (names[1], "parked", "BEHIND"),
        (corpse, "dead", "NEVER"),
    ]
    assert found[0]["next_at"] is not None
    assert found[2]["next_at"] is None

    async def named(query: str) -> list[str]:
        return [one["record"] for one in (await office.gets(query))["data"]]

    assert await named("?state=dead") == [corpse]
    assert await named(f"?key={key}") == names
    assert await named("?failure=LookupError") == [names[0]]
    assert await named("?topic=payment.held") == []
    assert await named("?since=2090-01-01T00:00:00Z") == []
    assert await named("?until=2090-01-01T00:00:00Z&state=dead&state=parked") == [*names, corpse]


async def test_a_list_goes_on_where_a_page_ended(office: Office) -> None:
    _, names = await office.poisons(1, 2, 3)
    first = await office.gets("?limit=2")
    assert [one["record"] for one in first["data"]] == names[:2]
    rest = await office.gets(f"?limit=2&after={first['next']}")
    assert ([one["record"] for one in rest["data"]], rest["next"]) == (names[2:], None)


@pytest.mark.parametrize(
    "query",
    [
        "topic=%27%3B%20drop%20table%20inbox_parked%20--",
        "topic=payment.%25",
        "failure=LookupErro_",
        "key=%E0%A4%95%F0%9F%98%80%E2%80%AE",
        "since=2099-12-31T23:59:59Z",
    ],
)
async def test_whatever_is_asked_for_is_text_and_finds_nothing(office: Office, query: str) -> None:
    await office.poisons(1)
    assert (await office.gets(f"?{query}"))["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        "topic=%00",
        "key=a%00b",
        f"key={'x' * 201}",
        "since=2026-02-30T00:00:00Z",
        "since=yesterday",
        "limit=1000000000",
        "limit=-1",
        "side=up",
        "state=gone",
        "after=payments.in.9999999999999999999",
        "after=payments.in.0",
    ],
)
async def test_what_no_list_can_be_asked_for_is_refused(office: Office, query: str) -> None:
    problem(await office.ask("GET", f"?{query}"), 422, "VALIDATION_FAILED")


async def test_records_are_counted_by_topic_state_and_failure(office: Office) -> None:
    await office.poisons(1, 2, 3)
    await office.refuses(7, uuid4())
    found = (await office.gets("/groups"))["data"]
    assert {(one["side"], one["state"], one["failure"], one["count"]) for one in found} == {
        ("in", "parked", "BEHIND", 2),
        ("in", "parked", "LookupError", 1),
        ("out", "parked", "MessageSizeTooLargeError", 1),
    }


async def test_one_record_is_shown_with_its_body_its_place_and_what_was_done_about_it(office: Office) -> None:
    key, names = await office.poisons(1, 2)
    await office.does("retry", names[1])
    shown = await office.gets(f"/{names[1]}")
    assert json.loads(shown["payload"])["subject_id"] == str(key)
    assert (shown["waits_behind"], shown["edited_payload"], shown["offset"]) == (names[0], None, 1)
    assert shown["headers"]["ce_type"] == "np.kbstylish.payment.returned.v1"
    assert [(one["action"], one["actor"], one["reason"]) for one in shown["actions"]] == [
        ("parked.retry", str(office.operator), WHY)
    ]


# Trying


async def test_a_dry_run_says_what_would_happen_and_leaves_nothing(office: Office) -> None:
    key, names = await office.poisons(1, 2)
    _, corpse = await office.kills()
    before = await office.everything()
    assert await office.rehearses(*names, corpse) == [
        (names[0], "unchanged"),
        (names[1], "unchanged"),
        (corpse, "unchanged"),
    ]
    assert await office.everything() == before
    assert await office.effects.written(key) == []
    await office.does("retry", names[0])
    await office.drains()
    assert await office.effects.written(key) == [1, 2]


async def test_a_dry_run_shows_the_events_that_would_be_told(office: Office) -> None:
    key, names = await office.poisons(1)

    async def tells(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        fact = PaymentDeclined(subject_id=key, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")
        await outbox.tell(tx, [Outgoing(fact, 5)])
        return await office.effects.handle(tx, events)

    hears = {NUMBER: Subscription(PaymentReturned, tells)}
    office.app.state.desk = Desk(office.effects.db, "notifications", hears)
    before = await office.everything()
    answer = await office.ask("POST", "/dry-run", {"records": names})
    [one] = answer.json()["data"]
    [told] = one["told"]
    assert (told["topic"], told["key"], told["sequence"]) == ("payment.declined", str(key), 5)
    assert told["payload"]["provider"] == "esewa"
    assert await office.everything() == before
    assert not office.effects.db.told.is_set()


async def test_a_dry_run_takes_what_waits_in_front_along_and_stops_where_it_fails(office: Office) -> None:
    key, names = await office.poisons(1, 2, 3)
    office.effects.broken = {(key, 2)}
    assert await office.rehearses(names[2]) == [
        (names[0], "unchanged"),
        (names[1], "fails"),
        (names[2], "waits"),
    ]
    office.effects.broken = set()
    office.effects.decisions[key, 1] = NotYet("no address yet")
    assert (await office.rehearses(names[2]))[0] == (names[0], "fails")


# Retrying


async def test_a_retry_takes_the_key_out_of_its_back_off(office: Office) -> None:
    key, names = await office.poisons(1, 2)
    await office.effects.admin.execute("update inbox_block set next_at = now() + interval '9 minutes'")
    await office.drains()
    assert await office.effects.written(key) == []
    [moved] = await office.does("retry", names[0])
    assert moved["state"] == "parked"
    await office.drains()
    assert await office.effects.written(key) == [1, 2]
    assert await office.actions() == [("parked.retry", names[0], office.operator, WHY)]


async def test_a_dead_record_is_tried_again_when_somebody_says_so(office: Office) -> None:
    key, corpse = await office.kills()
    await office.drains()
    assert await office.effects.written(key) == [1], "what it wrote with its verdict stays"
    await office.does("retry", corpse)
    await office.drains()
    assert await office.effects.written(key) == [1, 1]
    shown = await office.gets(f"/{corpse}")
    assert (shown["state"], shown["outcome"]) == ("replayed", "unchanged")


@pytest.mark.parametrize("verb", ["retry", "skip", "dry-run"])
async def test_a_record_that_is_settled_is_refused_with_its_state_and_nothing_is_done(
    office: Office, verb: str
) -> None:
    _, done = await office.poisons(1)
    await office.does("skip", *done)
    _, waiting = await office.poisons(1)
    before = await office.everything()
    body = {"records": [*waiting, *done]} | ({} if verb == "dry-run" else {"reason": WHY})
    said = problem(await office.ask("POST", f"/{verb}", body), 409, "NOT_PARKED")
    assert [one["code"] for one in said["errors"]] == ["SKIPPED"]
    assert f"{done[0]} is skipped since" in said["detail"]
    assert await office.everything() == before


async def test_a_record_of_another_service_or_of_nobody_is_not_found(office: Office) -> None:
    other = problem(await office.ask("GET", "/orders.in.1"), 404, "NOT_FOUND")
    assert "orders.in.1 is a record of orders" in other["detail"]
    body = {"records": ["notifications.in.99"], "reason": WHY}
    nobody = problem(await office.ask("POST", "/retry", body), 404, "NOT_FOUND")
    assert "notifications.in.99" in nobody["detail"]


@pytest.mark.parametrize("verb", ["retry", "skip", "dry-run"])
async def test_a_record_somebody_is_at_work_on_is_refused(office: Office, verb: str) -> None:
    _, names = await office.poisons(1)
    body = {"records": names} | ({} if verb == "dry-run" else {"reason": WHY})
    async with office.effects.db.transaction() as elsewhere:
        await elsewhere.execute(HOLD)
        problem(await office.ask("POST", f"/{verb}", body), 409, "RECORD_IN_FLIGHT")
    assert (await office.ask("POST", f"/{verb}", body)).status_code == 200


# Replaying a selection


async def test_a_replay_takes_what_fits_at_the_rate_asked_for_and_tells_its_progress(office: Office) -> None:
    keys = [(await office.poisons(1, 2))[0] for _ in range(3)]
    _, corpse = await office.kills()
    answer = await office.ask(
        "POST", "/replay", {"topic": "payment.returned", "per_second": 1, "reason": WHY}
    )
    assert answer.status_code == 202, answer.text
    began = answer.json()
    assert (began["asked"], began["waiting"], began["actor"]) == (7, 7, str(office.operator))
    turns = "select extract(epoch from next_at - min(next_at) over ())::int as s from inbox_block order by 1"
    assert [row["s"] for row in await office.effects.admin.fetch(turns)] == [0, 2, 4, 6]
    await office.effects.admin.execute("update inbox_block set next_at = now()")
    await office.drains()
    assert [await office.effects.written(key) for key in keys] == [[1, 2]] * 3
    ended = await office.gets(f"/replays/{began['id']}")
    assert (ended["done"], ended["waiting"], ended["others"]) == (7, 0, 0)
    assert answer.headers["location"] == f"{ROOT}/replays/{began['id']}"
    assert (await office.gets(f"/{corpse}"))["state"] == "replayed"


async def test_a_replay_takes_only_what_fits(office: Office) -> None:
    _, names = await office.poisons(1, 2)
    _, corpse = await office.kills()
    answer = await office.ask("POST", "/replay", {"failure": "NEVER", "reason": WHY})
    assert answer.json()["asked"] == 1
    replayed = "select id from inbox_parked where replay is not null"
    [row] = await office.effects.admin.fetch(replayed)
    assert f"notifications.in.{row['id']}" == corpse
    assert names


async def test_a_replay_that_names_too_many_is_refused_and_starts_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked_actions, "MOST_REPLAYED", 2)
    await office.poisons(1, 2, 3)
    before = await office.everything()
    body = {"topic": "payment.returned", "reason": WHY}
    problem(await office.ask("POST", "/replay", body), 422, "REPLAY_TOO_LARGE")
    assert await office.everything() == before


@pytest.mark.parametrize(
    "body", [{}, {"topic": "payment.returned", "per_second": 0}, {"topic": ""}, {"sides": "in", "key": "k"}]
)
async def test_a_replay_of_everything_or_nothing_is_refused(office: Office, body: dict[str, object]) -> None:
    problem(await office.ask("POST", "/replay", {**body, "reason": WHY}), 422, "VALIDATION_FAILED")


# Editing


async def test_an_edited_record_is_retried_with_its_new_bytes_and_keeps_the_old(office: Office) -> None:
    key, corpse = await office.kills()
    old = (await office.gets(f"/{corpse}"))["payload"]
    answer = await office.edits_payload(corpse, {**json.loads(old), "intent_id": str(UUID(int=42))})
    assert (answer.status_code, answer.json()["edited"]) == (200, True), answer.text
    shown = await office.gets(f"/{corpse}")
    assert (shown["payload"], json.loads(shown["edited_payload"])["intent_id"]) == (old, str(UUID(int=42)))
    await office.does("retry", corpse)
    await office.drains()
    assert await office.effects.written(key) == [1, 42]
    assert [action for action, *_ in await office.actions()] == ["parked.edit", "parked.retry"]


async def test_an_unreadable_record_can_be_mended_and_keeps_its_id(office: Office) -> None:
    told = heard(event(uuid4(), 1))
    headers = headers_of(told.event, 1, told.event_id)
    record = Record("payment.returned", 0, 3, told.key, b"{", headers)
    await office.effects.hear(malformed=[Malformed(record, "INVALID_BODY", "(body): json_invalid")])
    [one] = (await office.gets(""))["data"]
    assert told.record.value is not None
    assert (await office.edits_payload(one["record"], json.loads(told.record.value))).status_code == 200
    await office.does("retry", one["record"])
    await office.drains()
    assert await office.effects.written(UUID(told.key)) == [1]
    shown = await office.gets(f"/{one['record']}")
    assert (shown["state"], shown["event_id"]) == ("replayed", str(told.event_id))


async def test_an_edit_that_breaks_the_schema_or_the_key_is_refused_by_field(office: Office) -> None:
    _, corpse = await office.kills()
    body = json.loads((await office.gets(f"/{corpse}"))["payload"])
    before = await office.everything()
    wrong = {
        "/payload/intent_id": {**body, "intent_id": 7},
        "/payload/provider": {name: value for name, value in body.items() if name != "provider"},
        "/payload/provder": {**body, "provder": "esewa"},
        "/payload/subject_id": {**body, "subject_id": str(uuid4())},
    }
    for pointer, payload in wrong.items():
        said = problem(await office.edits_payload(corpse, payload), 422, "VALIDATION_FAILED")
        assert pointer in [one["pointer"] for one in said["errors"]], said
        assert (pointer != "/payload/subject_id") or said["errors"][0]["code"] == "LOCKED"
    assert await office.everything() == before


async def test_nobody_edits_where_it_is_switched_off(office: Office) -> None:
    _, corpse = await office.kills()
    body = json.loads((await office.gets(f"/{corpse}"))["payload"])
    office.app.state.desk = Desk(office.effects.db, "notifications")
    problem(await office.edits_payload(corpse, body), 403, "EDITING_OFF")


# Skipping


async def test_a_skipped_record_never_takes_effect_and_its_key_goes_on(office: Office) -> None:
    key, names = await office.poisons(1, 2)
    [moved] = await office.does("skip", names[0])
    assert moved["state"] == "skipped"
    await office.drains()
    assert await office.effects.written(key) == [2]
    assert await office.effects.admin.fetch("select key from inbox_block") == []
    row = await office.effects.admin.fetchrow("select * from inbox_parked order by id")
    assert row is not None
    assert (row["dismissed_by"], row["dismissed_reason"]) == (str(office.operator), WHY)
    assert await office.actions() == [("parked.skip", names[0], office.operator, WHY)]


async def test_a_key_is_free_once_all_that_waits_in_it_is_skipped(office: Office) -> None:
    key, names = await office.poisons(1, 2)
    await office.does("skip", *names)
    await office.effects.hear((key, 3))
    assert await office.effects.written(key) == [3]


@pytest.mark.parametrize("reason", [None, "", "  ", "no"])
@pytest.mark.parametrize("verb", ["retry", "skip"])
async def test_nothing_is_done_without_a_reason(office: Office, verb: str, reason: str | None) -> None:
    _, names = await office.poisons(1)
    before = await office.everything()
    problem(
        await office.ask("POST", f"/{verb}", {"records": names, "reason": reason}), 422, "VALIDATION_FAILED"
    )
    assert await office.everything() == before


# What the broker refused


async def test_what_the_broker_refused_is_handled_alike(office: Office) -> None:
    key = uuid4()
    big, behind = (
        await office.refuses(7, key),
        await office.refuses(8, key, error="waits behind a parked one"),
    )
    found = (await office.gets("?side=out"))["data"]
    assert [(one["record"], one["failure"]) for one in found] == [
        (big, "MessageSizeTooLargeError"),
        (behind, "BEHIND"),
    ]
    assert (await office.gets(f"/{behind}"))["waits_behind"] == big
    assert await office.rehearses(big) == [(big, "would be sent")]
    body = json.loads((await office.gets(f"/{big}"))["payload"])
    assert (await office.edits_payload(big, {**body, "intent_id": str(UUID(int=42))})).status_code == 200
    problem(await office.edits_payload(big, {**body, "subject_id": str(uuid4())}), 422, "VALIDATION_FAILED")
    assert [one["state"] for one in await office.does("retry", big)] == ["retry"]
    assert [one["state"] for one in await office.does("skip", behind)] == ["skipped"]
    states = await office.effects.admin.fetch("select state from outbox_parked order by id")
    assert [row["state"] for row in states] == ["retry", "skipped"]
    assert [(action, name) for action, name, *_ in await office.actions()] == [
        ("parked.edit", big),
        ("parked.retry", big),
        ("parked.skip", behind),
    ]


async def test_a_replay_of_what_the_broker_refused_gives_each_key_its_turn(office: Office) -> None:
    for number in (1, 2, 3):
        await office.refuses(number, uuid4())
    body = {"side": "out", "failure": "MessageSizeTooLargeError", "per_second": 1, "reason": WHY}
    began = (await office.ask("POST", "/replay", body)).json()
    turns = (
        "select extract(epoch from next_at - min(next_at) over ())::int as s from outbox_parked order by id"
    )
    assert [row["s"] for row in await office.effects.admin.fetch(turns)] == [0, 1, 2]
    assert (await office.gets(f"/replays/{began['id']}"))["waiting"] == 3


# Who


@pytest.mark.parametrize("role", ["customer", "vendor", "support", "service"])
async def test_only_operators_and_admins_come_in(office: Office, role: str) -> None:
    problem(await office.ask("GET", "", role=role), 403, "FORBIDDEN")
    body = {"records": ["notifications.in.1"], "reason": WHY}
    problem(await office.ask("POST", "/skip", body, role=role), 403, "FORBIDDEN")


async def test_without_a_token_nothing_is_said(office: Office) -> None:
    problem(await office.client.get(ROOT), 401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    "statement",
    ["update operator_actions set reason = 'x'", "delete from operator_actions", "truncate operator_actions"],
)
async def test_nobody_rewrites_what_operators_did(office: Office, statement: str) -> None:
    _, names = await office.poisons(1)
    await office.does("skip", *names)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with office.effects.db.transaction() as tx:
            await tx.execute(statement)
    with pytest.raises(asyncpg.RestrictViolationError):
        await office.effects.admin.execute(statement)
    assert len(await office.actions()) == 1
