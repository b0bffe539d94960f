"""The checker is no rubber stamp: each check keeps quiet about what is right and finds what was planted."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import checker
from tests.chaos.history import Event, Op, Recorder, Type, paired, read

NUMBERS = itertools.count(1)
ME = "7d8e2c9a-0000-4000-8000-000000000001"


def op(
    f: str,
    path: str = "/v1/checkouts/c1",
    *,
    at: tuple[int, int] = (1, 2),
    type_: Type = "ok",
    http: int | None = 200,
    key: str | None = None,
    **result: Any,  # noqa: ANN401 - any part of an answer
) -> Op:
    """One request, begun and answered at these times."""
    number, args = next(NUMBERS), {"path": path, "customer": ME}

    def event(moment: int, kind: Type, answered: int | None, told: Mapping[str, Any]) -> Event:
        return Event("r", 1, moment, "somebody", number, f, args, kind, answered, told, key, "t1")

    return Op(event(at[0], "invoke", None, {}), event(at[1], type_, http, result))


def placing(key: str, *, type_: Type = "ok", http: int | None = 201, **result: Any) -> Op:  # noqa: ANN401 - likewise
    return op("check out", "/v1/checkouts", key=key, type_=type_, http=http, **result)


def order(version: int, *, at: tuple[int, int], **more: Any) -> Op:  # noqa: ANN401 - likewise
    items = more.pop("items", [{"id": "i1", "status": "pending", "version": 1}])
    return op("read order", "/v1/orders/c1", at=at, version=version, items=items, **more)


def verdict(found: checker.Checked) -> tuple[int, int]:
    return found.examined, len(found.violations)


def test_one_key_has_one_answer() -> None:
    same = [placing("k", id="c1"), placing("k", id="c1"), placing("other", id="c2")]
    assert verdict(checker.same_key_same_answer(same)) == (1, 0)


def test_two_answers_under_one_key_are_found() -> None:
    assert verdict(checker.same_key_same_answer([placing("k", id="c1"), placing("k", id="c2")])) == (1, 1)


@pytest.mark.parametrize(
    ("begun", "http", "code", "expected"),
    [
        (3, 422, "CART_EMPTY", (1, 1)),
        (3, 422, "IDEMPOTENCY_KEY_REUSED", (1, 1)),
        (1, 422, "CART_EMPTY", (0, 0)),
        (3, None, "ConnectError", (0, 0)),
    ],
)
def test_a_key_that_was_answered_is_never_refused_afterwards(
    begun: int, http: int | None, code: str, expected: tuple[int, int]
) -> None:
    again = op("check out", at=(begun, 9), key="k", type_="fail", http=http, code=code)
    assert verdict(checker.same_key_same_answer([placing("k", id="c1"), again])) == expected


def test_a_checkout_that_was_rejected_meanwhile_is_the_same_answer() -> None:
    asked = [placing("k", id="c1"), placing("k", http=409, checkout_id="c1", code="CHECKOUT_REJECTED")]
    assert verdict(checker.same_key_same_answer(asked)) == (1, 0)


REUSED = "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("type_", "http", "code", "expected"),
    [
        ("fail", 422, REUSED, (1, 0)),
        ("ok", 201, "", (1, 1)),
        ("fail", 422, "CART_EMPTY", (1, 1)),
        ("fail", 404, "NOT_FOUND", (1, 1)),
        ("info", 409, "IDEMPOTENCY_KEY_IN_FLIGHT", (0, 0)),
        ("info", 503, "SERVICE_UNAVAILABLE", (0, 0)),
        ("fail", None, "ConnectError", (0, 0)),
    ],
)
def test_another_body_under_the_same_key_is_refused_as_that_and_nothing_else(
    type_: Type, http: int | None, code: str, expected: tuple[int, int]
) -> None:
    found = checker.same_key_other_body([op("check out otherwise", type_=type_, http=http, code=code)])
    assert verdict(found) == expected


def test_an_unclear_outcome_that_was_cleared_up_is_one_effect() -> None:
    ops = [placing("k", type_="info", http=None), placing("k", id="c1")]
    assert verdict(checker.unclear_means_once(ops, {ME: frozenset({"c1"})})) == (1, 0)


def test_an_effect_that_nobody_was_told_of_is_found() -> None:
    ops = [placing("k", type_="info", http=None), placing("k", id="c1")]
    assert verdict(checker.unclear_means_once(ops, {ME: frozenset({"c1", "c2"})})) == (1, 1)


def test_an_outcome_that_stayed_unclear_may_have_had_its_effect() -> None:
    ops = [placing("k", type_="info", http=None)]
    assert verdict(checker.unclear_means_once(ops, {ME: frozenset({"c1"})})) == (1, 0)


def test_what_was_answered_and_is_stored_nowhere_is_found() -> None:
    assert verdict(checker.unclear_means_once([placing("k", id="c1")], {})) == (0, 1)


def seen(stage: str, *, at: tuple[int, int], version: int = 1) -> Op:
    return op("poll", at=at, stage=stage, version=version)


def test_after_confirmed_the_order_is_there() -> None:
    ops = [seen("confirmed", at=(1, 2)), order(1, at=(3, 4))]
    assert verdict(checker.no_early_success(ops)) == (1, 0)


@pytest.mark.parametrize("wrong", [{"type_": "fail", "http": 404}, {"items": []}])
def test_an_order_that_is_not_there_after_confirmed_is_found(wrong: dict[str, Any]) -> None:
    ops = [seen("confirmed", at=(1, 2)), order(1, at=(3, 4), **wrong)]
    assert verdict(checker.no_early_success(ops)) == (1, 1)


def test_an_order_asked_for_before_it_was_confirmed_may_be_missing() -> None:
    ops = [order(1, at=(1, 5), type_="fail", http=404), seen("confirmed", at=(2, 3))]
    assert verdict(checker.no_early_success(ops)) == (0, 0)


def final(f: str, *, type_: Type = "ok", http: int | None = 200, **result: Any) -> Op:  # noqa: ANN401 - likewise
    path = "/v1/orders/c1" if f == "final order" else "/v1/checkouts/c1"
    return op(f, path, at=(8, 9), type_=type_, http=http, **result)


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([final("final order", items=[{"id": "i1"}])], (2, 0)),
        ([final("final order", type_="info", http=503), final("final order", items=[{"id": "i1"}])], (2, 0)),
        ([final("final order", type_="info", http=503)], (1, 1)),
        ([], (1, 1)),
    ],
)
def test_a_confirmed_order_that_could_not_be_read_at_the_end_is_no_success(
    reads: list[Op], expected: tuple[int, int]
) -> None:
    looked = op("final look", at=(6, 7), stage="confirmed")
    assert verdict(checker.no_early_success([looked, *reads])) == expected


@pytest.mark.parametrize(
    ("statuses", "violations"),
    [(("delivered", "cancelled"), 0), (("delivered", "shipped"), 1), (("cancelled",), 1), ((), 1)],
)
def test_delivered_means_all_items_done_and_one_delivered(statuses: Sequence[str], violations: int) -> None:
    items = [{"id": "i", "status": one, "version": 1} for one in statuses]
    found = checker.never_delivered_too_early([order(1, at=(1, 2), status="delivered", items=items)])
    assert verdict(found) == (1, violations)


def test_versions_that_rise_are_no_going_back() -> None:
    ops = [order(1, at=(1, 2)), order(2, at=(3, 4)), order(2, at=(5, 6))]
    assert verdict(checker.readers_never_go_back(ops)) == (4, 0)


def test_an_older_version_after_a_newer_one_is_found() -> None:
    ops = [seen("verifying", at=(1, 2), version=3), seen("awaiting_payment", at=(3, 4), version=2)]
    assert verdict(checker.readers_never_go_back(ops)) == (1, 1)


def test_reads_that_overlap_may_see_either() -> None:
    ops = [seen("verifying", at=(1, 4), version=3), seen("awaiting_payment", at=(2, 5), version=2)]
    assert verdict(checker.readers_never_go_back(ops)) == (0, 0)


def test_a_read_after_an_acknowledged_write_must_show_it() -> None:
    moved = op("move item", "/v1/vendor/items/i1/status", at=(1, 2), key="k", id="i1", version=2)
    stale = order(1, at=(3, 4))
    assert verdict(checker.readers_never_go_back([moved, stale])) == (1, 1)


@pytest.mark.parametrize(
    ("type_", "http", "expected"),
    [("fail", 404, (1, 0)), ("ok", 200, (1, 1)), ("fail", 403, (1, 1)), ("info", 503, (0, 0))],
)
def test_to_a_stranger_nothing_is_there(type_: Type, http: int, expected: tuple[int, int]) -> None:
    asked = op("look at another's", type_=type_, http=http)
    assert verdict(checker.not_yours_is_not_there([asked])) == expected


@pytest.mark.parametrize(
    ("stage", "type_", "violations"),
    [
        ("confirmed", "ok", 0),
        ("expired", "ok", 0),
        ("refund_pending", "ok", 0),
        ("verifying", "ok", 1),
        ("awaiting_phone", "ok", 1),
        ("on_hold", "ok", 1),
        ("a stage nobody knows", "ok", 1),
        ("", "ok", 1),
        ("", "info", 1),
    ],
)
def test_what_is_left_under_way_or_unread_is_stuck(stage: str, type_: Type, violations: int) -> None:
    found = checker.nothing_is_stuck([final("final look", type_=type_, stage=stage)])
    assert verdict(found) == (1, violations)


def test_what_waits_for_a_person_is_not_stuck_while_the_person_is_asked() -> None:
    held = [final("final look", stage="on_hold")]
    assert verdict(checker.nothing_is_stuck(held, in_review=frozenset({"c1"}))) == (1, 0)


def test_a_checkout_that_was_read_at_the_second_try_is_read() -> None:
    looks = [final("final look", type_="info", http=503), final("final look", stage="confirmed")]
    assert verdict(checker.nothing_is_stuck(looks)) == (1, 0)


def test_a_stored_checkout_that_nobody_looked_at_is_found() -> None:
    ops = [placing("k", type_="info", http=None), final("final look", stage="confirmed")]
    placed = {ME: frozenset({"c1", "c2"}), "somebody of the replay": frozenset({"c3"})}
    assert verdict(checker.nothing_is_stuck(ops, placed)) == (2, 1)


@pytest.mark.parametrize(
    ("http", "code", "violations"),
    [
        (200, "", 0),
        (404, "NOT_FOUND", 0),
        (503, "SERVICE_UNAVAILABLE", 0),
        (503, "SERVICE_UNAVAILABLE WITHOUT_RETRY_AFTER", 1),
        (500, "INTERNAL_ERROR", 1),
        (502, "", 1),
    ],
)
def test_no_answer_is_a_mistake_and_every_503_says_when_to_come_again(
    http: int, code: str, violations: int
) -> None:
    ops = [op("look", http=http, type_="info", code=code), op("look", http=None, type_="info")]
    assert verdict(checker.answers_are_right(ops)) == (1, violations)


@pytest.mark.parametrize(("after_s", "violations"), [(10.0, 0), (61.0, 1), (None, 1)])
def test_quiet_must_come_in_time(after_s: float | None, violations: int) -> None:
    assert verdict(checker.quiet_again(after_s)) == (1, violations)


def test_nothing_examined_is_no_success() -> None:
    assert not any(one.ok for one in checker.check([], checker.Facts({}, None)))


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    moments = itertools.count(1)
    with Recorder(tmp_path / "h.jsonl", run="r", seed=7, clock=lambda: next(moments)) as recorder:
        answered = recorder.invoke("a", "look", {"path": "/v1/checkouts/c1"}, trace_id="t")
        recorder.invoke("b", "check out", {}, idempotency_key="k")
        recorder.end(answered, "ok", 200, stage="confirmed")
    first, second = read(tmp_path / "h.jsonl")
    assert (first.answer.type, first.answer.http_status) == ("ok", 200)
    assert first.answer.result == {"stage": "confirmed"}
    assert (first.asked.t_mono_ns, first.answer.t_mono_ns, first.asked.seed) == (1, 3, 7)
    assert (second.answer.type, second.asked.idempotency_key) == ("info", "k")


def test_a_request_without_an_answer_is_unclear() -> None:
    asked = op("look").asked
    assert [one.answer.type for one in paired([asked])] == ["info"]
