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
from tests.chaos.needs import LATE, TWICE, Needs, needs_of
from tests.chaos.report import NEMESIS, Report, answers_of, felt, orders_of, slowest_heal, tension_of
from tests.chaos.schedule import KINDS, schedule

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
    nothing: dict[str, Any] = {"orders": {}, "tension": {}, "answers": {}, "audit": Audit((), (), 0.0)}
    return Report(1, 80.0, done, checks=checks, **nothing | more)


def checkout(id_: str, asked_s: float, confirmed_s: float | None, *, first_asked_s: float = 0) -> list[Op]:
    """A checkout from its placing, perhaps at the second try, to the first sight of its order."""
    ops = [op("check out", asked_s, asked_s + 0.5, key=f"key {id_}", id=id_)]
    if first_asked_s:
        ops.insert(
            0, op("check out", first_asked_s, asked_s - 0.1, key=f"key {id_}", type_="info", http=None)
        )
    if confirmed_s is not None:
        path = {"path": f"/v1/checkouts/{id_}"}
        ops.append(op("poll", confirmed_s - 0.1, confirmed_s, args=path, stage="confirmed"))
        ops.append(op("poll", confirmed_s + 5, confirmed_s + 6, args=path, stage="confirmed"))
    return ops


def test_a_fault_knows_the_slowest_request_during_it_and_when_orders_came_again() -> None:
    ops = [
        fault("kill one process", 10, 15),
        op("poll", 1, 9),
        op("poll", 12, 16),
        *checkout("before", 9, 16),
        *checkout("tried before", 16, 17, first_asked_s=14),
        *checkout("unpaid", 16, None),
        *checkout("after", 16, 23.5),
        *checkout("later", 17, 40),
    ]
    (one,) = felt(ops)
    assert one.worst_latency_s == pytest.approx(4.0)
    assert one.healed_after_s == pytest.approx(8.5)
    assert one.began_s == pytest.approx(9.0)
    assert one.lasted_s == pytest.approx(5.0)


@pytest.mark.parametrize("after", [[], checkout("unpaid", 16, None)])
def test_a_fault_after_which_no_order_came_has_never_healed(after: list[Op]) -> None:
    found = felt([fault("kill one process", 10, 15), *checkout("before", 1, 3), *after])
    assert found[0].healed_after_s is None
    assert slowest_heal(found) == "never"


def test_the_slowest_heal_does_not_hide_that_others_never_came() -> None:
    found = felt([fault("a", 1, 2), fault("b", 3, 4), fault("c", 30, 31), *checkout("c1", 5, 12)])
    assert slowest_heal(found).split() == ["10.00", "s", "(never:", "1)"]


def test_a_checkout_counts_once_however_often_it_was_looked_at() -> None:
    path = {"path": "/v1/checkouts/c1"}
    unread = op("final look", 1, 2, args=path, type_="info", http=503)
    ops = [
        unread,
        op("final look", 3, 4, args=path, stage="rejected"),
        op("check out", 1, 2, http=409, checkout_id="c1", code="CHECKOUT_REJECTED"),
        op("check out", 1, 2, http=409, checkout_id="c2", code="CHECKOUT_REJECTED"),
    ]
    assert orders_of(ops) == {"checkouts": 2, "rejected": 1, "rejected at once": 1}
    assert tension_of(ops, [])["sold out, of checkouts"] == 1.0


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
        {"broken": ("a client broke: honest 1: KeyError",)},
        {"needs": Needs(faults=3)},
        {"needs": Needs(kinds=3)},
        {"faults": 0, "needs": Needs(faults=1)},
        {"orders": {"confirmed": 4}, "needs": Needs(orders=5)},
        {"tension": {TWICE: 0.01}, "needs": Needs(shares={TWICE: 0.02})},
        {"needs": Needs(shares={TWICE: 0.02})},
    ],
)
def test_anything_else_is_red_and_says_why(wrong: dict[str, Any]) -> None:
    assert len(a_report(**wrong).reasons) == 1


def idle(*names: str) -> Audit:
    """An audit in which these promises had nothing to look at."""
    found = (Judged(one, Finding(0 if one.id in names else 7)) for one in PROMISES)
    return Audit(tuple(found), (), 0.0)


@pytest.mark.parametrize(
    ("promise", "more", "is_red"),
    [
        ("MON-2", {}, True),
        ("STK-7", {}, False),
        ("EVT-8", {}, False),
        ("EVT-8", {"felt": ("poison records",)}, True),
        ("MON-5", {}, False),
        ("MON-5", {"tension": {TWICE: 0.1}}, True),
    ],
)
def test_a_promise_without_work_is_named_and_red_where_it_should_have_had_some(
    promise: str,
    more: dict[str, Any],
    is_red: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    kinds = more.pop("felt", ())
    found = a_report(audit=idle(promise), **more)
    found.faults += felt([fault(kind, 1, 2) for kind in kinds])
    assert found.idle == [promise]
    assert found.reasons == [f"audit: {promise} had nothing to look at"] * is_red


def test_a_kind_of_fault_that_was_never_done_is_named() -> None:
    found = a_report(needs=Needs(kinds=3))
    found.faults += felt([fault("kill the broker", 1, 2, "fail")])
    assert found.reasons == ["only 2 kinds of faults were done, never: kill the broker"]


@pytest.mark.parametrize(("seconds", "has_late"), [(80.0, False), (600.0, True)])
def test_what_a_run_must_have_done_follows_from_its_schedule(seconds: float, has_late: bool) -> None:  # noqa: FBT001 - a parameter of the test
    planned = schedule(1, seconds)
    needs = needs_of(planned, seconds, 3.0)
    assert 0.9 * len(planned) <= needs.faults < 0.9 * len(planned) + 1
    assert needs.kinds == len(KINDS)
    assert needs.orders == int(0.6 * seconds)
    assert (LATE in needs.shares) == has_late
    assert needs.shares.keys() <= tension_of([], []).keys()


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
