"""The report: what a fault did to people, how hard the run was, and what makes it red."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from infra.audit.promises import PROMISES, Finding, Violation
from infra.audit.report import Judged
from infra.audit.report import Report as Audit
from tests.chaos.caller import gist, outcome_of
from tests.chaos.checker import Checked
from tests.chaos.history import Event, Op, Type
from tests.chaos.report import NEMESIS, Report, answers_of, felt, tension_of

NUMBERS = itertools.count(1)
SECOND = 1_000_000_000
KEPT = Checked("ORD-2", "said", 5)


def op(
    f: str,
    begun_s: float,
    ended_s: float,
    *,
    client: str = "somebody",
    type_: Type = "ok",
    http: int | None = 200,
    key: str | None = None,
    args: Mapping[str, Any] | None = None,
    **result: Any,  # noqa: ANN401 - any part of an answer
) -> Op:
    number, said = next(NUMBERS), args or {"path": "/v1/x"}
    asked = Event("r", 1, int(begun_s * SECOND), client, number, f, said, "invoke", idempotency_key=key)
    answer = Event("r", 1, int(ended_s * SECOND), client, number, f, said, type_, http, result, key)
    return Op(asked, answer)


def fault(kind: str, begun_s: float, ended_s: float, type_: Type = "ok") -> Op:
    args = {"fault": "F-01", "target": "orders-0", "lasts_s": 0}
    return op(kind, begun_s, ended_s, client=NEMESIS, type_=type_, args=args, detail="orders-0")


def a_report(*, faults: int = 2, checks: tuple[Checked, ...] = (KEPT,), **more: Any) -> Report:  # noqa: ANN401 - any field
    done = felt([fault(f"kind {number % 2}", number, number + 1) for number in range(faults)])
    nothing: dict[str, Any] = {"orders": {}, "tension": {}, "answers": {}}
    return Report(1, 80.0, done, checks=checks, audit=Audit((), (), 0.0), **nothing, **more)


def test_a_fault_knows_the_slowest_request_during_it_and_when_orders_came_again() -> None:
    ops = [
        fault("kill one process", 10, 15),
        op("poll", 1, 9),
        op("poll", 12, 16),
        op("check out", 14, 15),
        op("check out", 16, 18.5),
        op("check out", 17, 40),
    ]
    (one,) = felt(ops)
    assert one.worst_latency_s == pytest.approx(4.0)
    assert one.healed_after_s == pytest.approx(3.5)
    assert one.began_s == pytest.approx(9.0)
    assert one.lasted_s == pytest.approx(5.0)


def test_a_fault_after_which_nobody_came_has_no_time_of_healing() -> None:
    (one,) = felt([fault("kill one process", 10, 15), op("check out", 1, 2)])
    assert one.healed_after_s is None


def test_faults_that_overlap_in_time_are_counted() -> None:
    faults = felt([fault("a", 1, 5), fault("b", 4, 6), fault("c", 7, 8)])
    assert tension_of([], faults)["faults that overlap"] == pytest.approx(2 / 3, abs=1e-3)


def test_the_share_of_watchers_that_timed_out_is_told() -> None:
    ops = [op("watch", 1, 2), op("watch", 1, 121, type_="fail"), op("watch", 1, 3), op("watch", 1, 4)]
    assert tension_of(ops, [])["watchers timed out"] == 0.25


def test_two_attempts_paid_for_one_checkout_are_counted_once_each() -> None:
    args = {"checkout": "c1", "late": False}
    ops = [op("pay", 1, 2, args=args, reference=one) for one in ("r1", "r1", "r2")]
    ops.append(op("pay", 1, 2, args={"checkout": "c2", "late": True}, reference="r3"))
    shares = tension_of(ops, [])
    assert (shares["two attempts paid, of paid"], shares["paid late, of paid"]) == (0.5, 0.5)


def test_a_503_that_does_not_say_when_to_come_again_is_named() -> None:
    ops = [
        op("poll", 1, 2, http=503, type_="info", code="SERVICE_UNAVAILABLE"),
        op("poll", 1, 2, http=503, type_="info", code=" WITHOUT_RETRY_AFTER"),
        op("poll", 1, 2, http=None, type_="info", code="ReadTimeout"),
    ]
    assert answers_of(ops) == {"503": 2, "503 without Retry-After": 1, "none: ReadTimeout": 1}


def test_a_run_that_kept_every_promise_is_green() -> None:
    assert a_report().ok


@pytest.mark.parametrize(
    "wrong",
    [
        {"checks": (Checked("ORD-2", "said", 5, ("x",)),)},
        {"checks": (Checked("ORD-2", "said", 0),)},
        {"broken_clients": ("honest 1: KeyError",)},
        {"needs": {"faults": 3}},
        {"needs": {"kinds": 3}},
        {"faults": 0, "needs": {"faults": 1}},
    ],
)
def test_anything_else_is_red_and_says_why(wrong: dict[str, Any]) -> None:
    assert len(a_report(**wrong).reasons) == 1


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (201, "", "ok"),
        (202, "", "ok"),
        (409, "CHECKOUT_REJECTED", "ok"),
        (409, "IDEMPOTENCY_KEY_IN_FLIGHT", "info"),
        (409, "INVALID_TRANSITION", "fail"),
        (422, "CART_EMPTY", "fail"),
        (429, "QUOTA_EXCEEDED", "fail"),
        (500, "INTERNAL_ERROR", "info"),
        (503, "SERVICE_UNAVAILABLE", "info"),
    ],
)
def test_what_an_answer_says_about_the_effect(status: int, code: str, outcome: Type) -> None:
    assert outcome_of(status, code) == outcome


def test_the_history_keeps_no_address_and_no_name() -> None:
    order = {
        "id": "c1",
        "status": "delivered",
        "version": 3,
        "shipping_address": {"name": "Sita Sharma"},
        "items": [{"id": "i1", "sku": "s", "title": "t", "status": "delivered", "version": 2}],
    }
    assert gist(order) == {
        "id": "c1",
        "status": "delivered",
        "version": 3,
        "items": [{"id": "i1", "sku": "s", "status": "delivered", "version": 2}],
    }


def test_the_violations_of_history_and_audit_are_counted_together() -> None:
    finding = Finding(examined=3, violations=(Violation(("one", "two"), "is wrong"),))
    found = a_report(checks=(KEPT, Checked("ORD-2", "said", 5, ("this is wrong",))))
    found.audit = Audit((Judged(PROMISES[0], finding),), (), 0.0)
    assert found.violations == 3
