"""What is awaited and where an order is, stage by stage, said from rows alone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.event import type_of
from contracts.topics import BY_NAME
from infra.event_map import example
from infra.events.examples import example_row
from infra.find.awaited import STAGES, awaited
from infra.find.events import Event
from infra.find.facts import Facts, Group
from infra.find.story import story
from infra.find.verdict import SAYS, where_and_why
from services.chassis.records import Heard, Record, read
from services.orders.domain import Stage
from services.orders.reconcilers import Limits

SINCE = datetime(2026, 1, 15, 6, 30, tzinfo=UTC)
NOW = SINCE + timedelta(seconds=60)
LIMITS = Limits(reserve_s=120, payment_grace_s=8100, review_s=7200, process_s=7300, phone_s=1800)
ID = UUID("0198c0de-0000-7000-8000-000000000001")


def checkout(stage: str, **said: Any) -> dict[str, Any]:  # noqa: ANN401 - any column
    usual = {
        "stage": stage,
        "hold": "held",
        "hold_no": 1,
        "since": SINCE,
        "asked": True,
        "paid_at": None,
        "pay_within_s": 900,
        "ended_at": SINCE,
        "refusals": None,
        "now": NOW,
    }
    return usual | said


def facts(stage: str | None = None, *, said: dict[str, Any] | None = None, **more: Any) -> Facts:  # noqa: ANN401
    tables = {"checkout": [checkout(stage, **said or {})]} if stage else {}
    return Facts(str(ID), tables=tables | more.pop("tables", {}), **more)


def intent(**said: Any) -> dict[str, Any]:  # noqa: ANN401 - any column
    usual = {"status": "AWAITING_PAYMENT", "answer": None, "verified_at": None, "left_at": None, "now": NOW}
    times = {"pay_by": SINCE + timedelta(seconds=900), "close_at": SINCE + timedelta(seconds=1020)}
    return {**usual, **times, "traceparent": "", **said}


def deadlines(facts: Facts) -> list[float]:
    """Seconds after the stage began at which something fires."""
    return [(one.until - SINCE).total_seconds() for one in awaited(facts, LIMITS) if one.until]


@pytest.mark.parametrize(
    ("stage", "said", "fires"),
    [
        ("reserving", {}, [120]),
        ("reserving", {"asked": False}, []),
        ("reserving", {"paid_at": SINCE}, []),
        ("awaiting_phone", {}, [1800]),
        ("awaiting_payment", {}, [9000]),
        ("verifying", {}, [9000]),
        ("on_hold", {}, [7200]),
        ("on_hold", {"hold": "none"}, []),
        ("processing", {}, [7300]),
        ("expired", {}, [86_400]),
        ("payment_failed", {}, [86_400]),
        ("confirmed", {}, []),
        ("rejected", {}, []),
        ("cancelled", {}, []),
        ("refund_pending", {}, []),
        ("refunded", {}, []),
    ],
)
def test_the_timer_of_each_stage_is_named_with_its_time(
    stage: str, said: dict[str, Any], fires: list[float]
) -> None:
    assert deadlines(facts(stage, said=said)) == fires


def test_every_stage_that_a_timer_or_a_person_moves_is_known() -> None:
    assert set(SAYS) == {stage.value for stage in Stage}
    assert set(STAGES) < set(SAYS)


def test_payments_says_until_when_it_waits() -> None:
    open_ = facts("awaiting_payment", tables={"intent": [intent()]})
    assert deadlines(open_) == [9000, 900, 1020]
    paid = intent(status="SUCCEEDED", verified_at=SINCE, left_at=SINCE + timedelta(seconds=1))
    assert deadlines(facts("verifying", tables={"intent": [paid]})) == [9000, 60, 901]
    answered = paid | {"answer": "finalized"}
    assert deadlines(facts("confirmed", tables={"intent": [answered]})) == []


def test_what_a_person_must_do_has_no_timer() -> None:
    tables = {
        "refunds": [{"id": ID, "status": "MANUAL_PENDING"}, {"id": ID, "status": "SUCCEEDED"}],
        "cases": [{"id": ID, "reason": "mismatch", "open": True}, {"id": ID, "reason": "x", "open": False}],
    }
    said = [one.line(NOW) for one in awaited(facts("refund_pending", tables=tables), LIMITS)]
    assert said == [
        f"somebody to send refund {ID} by hand; no timer sends money",
        f"review case {ID} (mismatch) to be closed; a person decides",
    ]


def test_a_time_is_said_as_a_clock_and_as_a_distance() -> None:
    (one,) = awaited(facts("awaiting_phone"), LIMITS)
    assert "until 07:00:00 (in 29 min 0 s)" in one.line(NOW)
    assert "(5 s ago)" in one.line(SINCE + timedelta(seconds=1805))
    assert "(in 2 h 3 min)" in one.line(SINCE - timedelta(seconds=93 * 60))


def event(topic: str = "order.placed", **said: Any) -> Event:  # noqa: ANN401 - any field
    usual: dict[str, Any] = {
        "id": ID,
        "topic": topic,
        "part": 3,
        "at": SINCE,
        "sequence": 1,
        "causation": None,
        "traceparent": "",
        "body": b"",
        "published": True,
        "offset": 7,
    }
    return Event(**usual | said)


def test_an_event_stands_in_the_way_until_it_is_published_and_heard() -> None:
    unpublished = facts("reserving", events=[event(published=False, offset=None)])
    assert "order.placed was told 60 s ago and has not left the outbox of orders." in where_and_why(
        unpublished
    )
    groups = {("inventory", "order.placed"): Group(read_to=7, end=12)}
    unread = facts("reserving", events=[event()], groups=groups)
    assert "inventory has not taken order.placed[3]@7 yet: it is 5 records behind" in where_and_why(unread)
    passed = facts("reserving", events=[event()], groups={("inventory", "order.placed"): Group(8, 12)})
    assert "inventory has read past order.placed[3]@7, and its inbox does not have it" in where_and_why(
        passed
    )
    at_once = facts("reserving", said={"now": SINCE}, events=[event()], groups=groups)
    assert where_and_why(at_once) == f"reserving: {SAYS['reserving']}."
    heard = facts("reserving", events=[event(heard_by=frozenset({"inventory"}))], groups=groups)
    assert where_and_why(heard) == f"reserving: {SAYS['reserving']}."
    young = facts("reserving", said={"now": SINCE}, events=[event(published=False)])
    assert where_and_why(young) == f"reserving: {SAYS['reserving']}."


def test_of_a_silent_service_nothing_is_claimed() -> None:
    groups = {("inventory", "order.placed"): Group(read_to=7, end=12)}
    away = facts("reserving", events=[event()], groups=groups, silent={"inventory": "away"})
    assert where_and_why(away) == f"reserving: {SAYS['reserving']}."
    alone = facts(tables={"intent": [intent()]}, silent={"orders": "away"})
    assert where_and_why(alone) == "orders could not be asked: payments says AWAITING_PAYMENT."
    stranger = facts(tables={"holds": [{"hold_no": 1, "status": "ended", "now": NOW}]})
    assert where_and_why(stranger) == "orders knows no checkout of this id: inventory says hold 1 is ended."


def test_many_reasons_are_cut_short() -> None:
    said = where_and_why(facts("reserving", events=[event(published=False)] * 8))
    assert said.count("has not left the outbox") == 5
    assert said.endswith("and 3 more of the kind.")


def test_the_story_is_in_the_order_of_time_whoever_tells_it() -> None:
    told = facts(
        events=[event(at=SINCE + timedelta(seconds=2))],
        tables={
            "holds": [
                {"hold_no": 1, "status": "held", "opened_at": SINCE, "closed_at": None, "lines": "2 x a"}
            ],
            "charges": [
                {
                    "confirmed_at": SINCE + timedelta(seconds=1),
                    "amount_paisa": 123_456,
                    "provider": "esewa",
                    "provider_txn_id": "0X",
                    "kind": "APPLIED",
                }
            ],
        },
    )
    assert [(line.service, line.text.partition(" #")[0]) for line in story(told)] == [
        ("inventory", "1 began: 2 x a"),
        ("payments", "NPR 1,234.56 of esewa 0X: APPLIED"),
        ("orders", "order.placed[3]@7"),
    ]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", BY_NAME)
def test_every_topic_has_an_example_that_its_hearers_can_read(name: str, whole: bool) -> None:  # noqa: FBT001
    topic, key = BY_NAME[name], UUID("0198c0de-0000-7000-8000-0000000000ff")
    row = example_row(topic, key, whole=whole)
    headers = {
        "ce_id": str(row["event_id"]),
        "ce_type": type_of(name, row["version"]),
        "ce_sequence": f"{row['key_seq']:020d}",
        "ce_subjectkind": row["subject_kind"],
    }
    record = Record(name, row["part"], 0, row["key"], row["payload"], headers)
    now_ms = int(row["created_at"].timestamp() * 1000)
    assert isinstance(read(record, topic.event, now_ms), Heard)
    assert row["key"] == str(key)
    assert example(topic, whole=whole)[topic.event.KEYED_BY].encode() not in row["payload"]
