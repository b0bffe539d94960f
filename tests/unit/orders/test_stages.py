"""The stage table, cell by cell, against a transcription that shares nothing with the code."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from services.chassis.decisions import Changed, Never, Refused, Unchanged
from services.chassis.ids import new_id
from services.orders import domain
from services.orders.domain import Actor, CancelCheckout, Checkout, Stage, TimeIsUp
from services.orders.domain.checkout import ReleaseCod, ReturnLines, TakeReturned
from tests.unit.orders import making
from tests.unit.orders.making import NOW

CASE = new_id()
SIGNALS: dict[str, Callable[[Checkout], Any]] = {
    "reserved": lambda one: domain.accept_reservation(one, making.reserved(one), now=NOW),
    "rejected": lambda one: domain.accept_rejection(one, making.rejected(one), now=NOW),
    "opened": lambda one: domain.hear_hint(one, making.opened(one.order_id, 9), now=NOW),
    "declined": lambda one: domain.hear_hint(one, making.declined(one.order_id, 9), now=NOW),
    "returned": lambda one: domain.hear_hint(one, making.came_back(one.order_id, 9), now=NOW),
    "failed": lambda one: domain.hear_hint(one, making.failed(one.order_id, 9), now=NOW),
    "held": lambda one: domain.hold_payment(one, making.held(one.order_id, CASE), now=NOW),
    "verified": lambda one: domain.accept_payment(one, making.verified(one.order_id, 9), now=NOW),
    "refunded": lambda one: domain.accept_refund(one, making.refunded(one.order_id, 9), now=NOW),
    "cancel": lambda one: domain.cancel(
        one, CancelCheckout(one.order_id, Actor("customer", one.customer_id)), now=NOW
    ),
    "timer": lambda one: domain.time_is_up(one, TimeIsUp(one.order_id), now=NOW),
}
FIN, EXP, CAN, REV = "order.finalized", "order.expired", "order.cancelled", "order.revived"

# stage: {signal: (stage afterwards, hold afterwards, topics told)}; a signal that is missing changes nothing.
# Before: an unpaid gateway checkout, its hold `asked` in reserving and processing, `none` at an end, or held.
Cell = tuple[str, str, tuple[str, ...]]
ENDS: dict[str, Cell] = {
    "cancel": ("cancelled", "none", (CAN,)),
    "timer": ("expired", "none", (EXP,)),
}
PAGE: dict[str, dict[str, Cell]] = {
    "reserving": {
        "reserved": ("awaiting_payment", "held", ()),
        "rejected": ("rejected", "none", ()),
        "cancel": ("cancelled", "none", (CAN,)),
        "timer": ("cancelled", "none", (CAN,)),
    },
    "awaiting_phone": ENDS,
    "awaiting_payment": ENDS
    | {
        "returned": ("verifying", "held", ()),
        "held": ("on_hold", "held", ()),
        "failed": ("expired", "none", (EXP,)),
        "verified": ("confirmed", "held", (FIN,)),
    },
    "verifying": ENDS
    | {
        "opened": ("awaiting_payment", "held", ()),
        "declined": ("awaiting_payment", "held", ()),
        "held": ("on_hold", "held", ()),
        "failed": ("expired", "none", (EXP,)),
        "verified": ("confirmed", "held", (FIN,)),
    },
    "on_hold": {
        "rejected": ("on_hold", "none", ()),
        "failed": ("expired", "none", (EXP,)),
        "verified": ("confirmed", "held", (FIN,)),
        "refunded": ("refunded", "none", (CAN,)),
        "timer": ("on_hold", "none", (EXP,)),
    },
    "expired": {
        "held": ("on_hold", "none", ()),
        "verified": ("processing", "asked", (REV,)),
        "refunded": ("refunded", "none", (CAN,)),
    },
    "payment_failed": {
        "held": ("on_hold", "none", ()),
        "verified": ("processing", "asked", (REV,)),
        "refunded": ("refunded", "none", (CAN,)),
    },
    "processing": {
        "reserved": ("confirmed", "held", (FIN,)),
        "rejected": ("refund_pending", "none", (CAN,)),
        "cancel": ("refund_pending", "none", (CAN,)),
        "timer": ("refund_pending", "none", (CAN,)),
    },
    "confirmed": {},
    "rejected": {},
    "cancelled": {
        "verified": ("refund_pending", "none", ()),
        "refunded": ("refunded", "none", ()),
    },
    "refund_pending": {"refunded": ("refunded", "none", ())},
    "refunded": {"verified": ("refund_pending", "none", ())},
}
ALARMS = {("awaiting_phone", "verified"), ("rejected", "verified")}
REFUSED = {
    "on_hold",
    "expired",
    "payment_failed",
    "confirmed",
    "rejected",
    "refund_pending",
    "refunded",
}
"""Where a customer's cancel is a 409."""
ENDED = {"expired", "payment_failed", "rejected", "cancelled", "refund_pending", "refunded"}


def at(stage: str, **said: Any) -> Checkout:  # noqa: ANN401
    """A checkout in this stage as it usually gets there."""
    hold = {"reserving": "asked", "processing": "asked"}.get(stage, "none" if stage in ENDED else "held")
    known: dict[str, Any] = {"stage": Stage(stage), "hold": domain.Hold(hold), "version": 3, "seq": 5}
    if stage in ENDED:
        known |= {"ended_at": NOW - timedelta(hours=1), "lines_returned": True}
    if stage == "processing":
        known |= {"hold_no": 2, "paid_at": NOW, "paid_paisa": 450_00, "money_seq": 4}
    if stage == "awaiting_phone":
        known |= {"method": "cod", "cod_active": True}
    return making.a_checkout(**known | said)


def test_the_page_and_the_code_have_the_same_stages() -> None:
    assert set(PAGE) == {stage.value for stage in Stage} == {stage.value for stage in domain.TABLE}


@pytest.mark.parametrize(("stage", "signal"), list(product(PAGE, SIGNALS)))
def test_every_cell_of_the_table(stage: str, signal: str) -> None:
    before = at(stage)
    outcome = SIGNALS[signal](before)
    if (stage, signal) in ALARMS:
        assert isinstance(outcome, Never)
    elif signal == "cancel" and stage in REFUSED:
        assert isinstance(outcome, Refused)
    elif (cell := PAGE[stage].get(signal)) is not None:
        assert isinstance(outcome, Changed)
        told = tuple(event.TOPIC for event in outcome.tell)
        assert (outcome.state.stage, outcome.state.hold, told) == cell
    else:
        _changes_nothing_but_notes(before, outcome)


def _changes_nothing_but_notes(before: Checkout, outcome: object) -> None:
    if isinstance(outcome, Changed):
        assert outcome.tell == ()
        after = outcome.state
        assert (after.stage, after.hold, after.hold_no, after.version) == (
            before.stage,
            before.hold,
            before.hold_no,
            before.version,
        )
    else:
        assert isinstance(outcome, Unchanged)


@pytest.mark.parametrize(("stage", "signal"), list(product(PAGE, SIGNALS)))
def test_every_change_of_stage_is_one_step_and_one_version(stage: str, signal: str) -> None:
    before = at(stage)
    outcome = SIGNALS[signal](before)
    if not isinstance(outcome, Changed):
        return
    steps = [one for one in outcome.do if isinstance(one, domain.Step)]
    if outcome.state.stage is before.stage:
        assert (steps, outcome.state.version) == ([], before.version)
    else:
        [step] = steps
        assert (step.old, step.new, step.seq) == (before.stage, outcome.state.stage, before.version + 1)
        assert outcome.state.version == before.version + 1
        assert outcome.state.ended_at == (NOW if outcome.state.stage.value in ENDED else before.ended_at) or (
            outcome.state.stage is Stage.CONFIRMED and outcome.state.ended_at is None
        )


@pytest.mark.parametrize(("stage", "signal"), list(product(PAGE, SIGNALS)))
def test_the_same_signal_again_changes_nothing_more(stage: str, signal: str) -> None:
    """A copy that the inbox missed: what it told once is not told again."""
    before = at(stage)
    first = SIGNALS[signal](before)
    if not isinstance(first, Changed) or signal == "timer":
        return  # a timer is asked only while its limit is past
    again = SIGNALS[signal](first.state)
    if isinstance(again, Changed):
        assert (again.tell, again.do) == ((), ())
        assert again.state.stage is first.state.stage


@pytest.mark.parametrize(
    ("stage", "signal"),
    [(stage, signal) for stage in PAGE for signal in SIGNALS if stage not in ENDED],
)
def test_lines_go_back_exactly_at_ends_without_an_order_and_cod_is_released_with_them(
    stage: str, signal: str
) -> None:
    before = at(stage, cod_active=True)
    outcome = SIGNALS[signal](before)
    if not isinstance(outcome, Changed):
        return
    ended = outcome.state.stage.value in ENDED
    assert [type(one) for one in outcome.do if isinstance(one, ReturnLines | ReleaseCod)] == (
        [ReturnLines, ReleaseCod] if ended else []
    )
    assert (outcome.state.lines_returned, outcome.state.cod_active) == (ended, not ended)


def test_lines_that_went_back_do_not_go_back_again() -> None:
    before = at("processing", lines_returned=True)
    outcome = SIGNALS["rejected"](before)
    assert not [one for one in outcome.do if isinstance(one, ReturnLines)]


def test_a_revived_order_takes_exactly_the_returned_lines_out_again() -> None:
    revived = SIGNALS["verified"](at("expired")).state
    assert revived.hold_no == 2
    outcome = SIGNALS["reserved"](revived)
    assert TakeReturned(revived.order_id, revived.customer_id) in outcome.do
    assert outcome.tell[0].hold_no == 2


def test_money_later_than_a_day_goes_back() -> None:
    late = at("expired", ended_at=NOW - timedelta(hours=24, seconds=1))
    outcome = SIGNALS["verified"](late)
    assert outcome.state.stage is Stage.REFUND_PENDING
    assert [event.TOPIC for event in outcome.tell] == [CAN]
    just = at("expired", ended_at=NOW - timedelta(hours=24))
    assert SIGNALS["verified"](just).state.stage is Stage.PROCESSING


def test_a_declined_checkout_ends_as_payment_failed() -> None:
    for stage in ("awaiting_payment", "verifying", "on_hold"):
        outcome = SIGNALS["failed"](at(stage, declined=True))
        assert outcome.state.stage is Stage.PAYMENT_FAILED
        assert outcome.tell[0].reason == "payment_failed"


def test_failed_on_hold_tells_only_while_there_is_a_hold() -> None:
    outcome = SIGNALS["failed"](at("on_hold", hold=domain.Hold.NONE))
    assert (outcome.state.stage, outcome.tell) == (Stage.EXPIRED, ())


@pytest.mark.parametrize(
    ("hold", "stage", "told"),
    [("held", "confirmed", (FIN,)), ("none", "processing", (REV,)), ("asked", "processing", ())],
)
def test_verified_on_hold_depends_on_the_hold(hold: str, stage: str, told: tuple[str, ...]) -> None:
    outcome = SIGNALS["verified"](at("on_hold", hold=domain.Hold(hold)))
    assert (outcome.state.stage, tuple(one.TOPIC for one in outcome.tell)) == (stage, told)


# ----- cases


@pytest.mark.parametrize(
    ("hold", "declined", "stage"),
    [("held", False, "verifying"), ("none", False, "expired"), ("none", True, "payment_failed")],
)
def test_the_last_closed_case_lets_the_checkout_go_on_or_end(hold: str, declined: bool, stage: str) -> None:  # noqa: FBT001
    cases = frozenset({(CASE, "mismatch")})
    before = at("on_hold", hold=domain.Hold(hold), declined=declined, open_cases=cases)
    outcome = domain.hold_payment(before, making.held(before.order_id, CASE, is_open=False), now=NOW)
    assert isinstance(outcome, Changed)
    assert (outcome.state.stage, outcome.tell) == (stage, ())
    assert any(isinstance(one, ReturnLines) for one in outcome.do) == (stage != "verifying")


def test_on_hold_only_notes_what_inventory_says() -> None:
    asked = at("on_hold", hold=domain.Hold.ASKED)
    assert SIGNALS["reserved"](asked).state == replace(asked, hold=domain.Hold.HELD)


def test_one_of_two_closed_cases_keeps_the_checkout_on_hold() -> None:
    other = (new_id(), "undecided")
    before = at("on_hold", open_cases=frozenset({(CASE, "mismatch"), other}))
    outcome = domain.hold_payment(before, making.held(before.order_id, CASE, is_open=False), now=NOW)
    assert isinstance(outcome, Changed)
    assert (outcome.state.stage, outcome.state.open_cases) == (Stage.ON_HOLD, frozenset({other}))


@pytest.mark.parametrize("stage", PAGE)
def test_open_cases_are_remembered_in_every_stage(stage: str) -> None:
    before = at(stage)
    outcome = SIGNALS["held"](before)
    assert isinstance(outcome, Changed)
    assert outcome.state.open_cases == {(CASE, "mismatch")}


def test_a_reversal_blocks_a_confirmed_order_until_the_last_one_closes() -> None:
    before = at("confirmed")
    opened = domain.hold_payment(before, making.held(before.order_id, CASE, reason="reversed"), now=NOW)
    assert isinstance(opened, Changed)
    assert opened.do == (domain.BlockShipping(before.order_id, blocked=True),)
    closed = domain.hold_payment(
        opened.state, making.held(before.order_id, CASE, reason="reversed", is_open=False), now=NOW
    )
    assert isinstance(closed, Changed)
    assert closed.do == (domain.BlockShipping(before.order_id, blocked=False),)


def test_an_order_of_a_checkout_with_a_reversal_is_born_blocked() -> None:
    before = at("processing", open_cases=frozenset({(CASE, "reversed")}))
    outcome = SIGNALS["reserved"](before)
    [created] = [one for one in outcome.do if isinstance(one, domain.CreateOrder)]
    assert created.order.blocked


# ----- what came early


@pytest.mark.parametrize(
    ("hint", "stage", "told"),
    [
        ("opened", "awaiting_payment", ()),
        ("declined", "awaiting_payment", ()),
        ("returned", "verifying", ()),
        ("failed", "expired", (EXP,)),
    ],
)
def test_a_hint_that_came_while_reserving_is_applied_afterwards(
    hint: str, stage: str, told: tuple[str, ...]
) -> None:
    early = SIGNALS[hint](at("reserving"))
    assert isinstance(early, Changed)
    assert (early.state.stage, early.tell) == (Stage.RESERVING, ())
    outcome = SIGNALS["reserved"](early.state)
    assert (outcome.state.stage, tuple(one.TOPIC for one in outcome.tell)) == (stage, told)


def test_money_that_came_while_reserving_makes_the_order_at_once() -> None:
    early = SIGNALS["verified"](at("reserving", total_paisa=None)).state
    assert early.stage is Stage.RESERVING
    outcome = SIGNALS["reserved"](early)
    assert (outcome.state.stage, [one.TOPIC for one in outcome.tell]) == (Stage.CONFIRMED, [FIN])


def test_a_case_that_came_while_reserving_puts_the_checkout_on_hold() -> None:
    early = SIGNALS["held"](at("reserving")).state
    assert SIGNALS["reserved"](early).state.stage is Stage.ON_HOLD


def test_a_paid_checkout_is_not_given_up_by_the_clock() -> None:
    paid = SIGNALS["verified"](at("reserving", total_paisa=None)).state
    assert isinstance(SIGNALS["timer"](paid), Unchanged)


# ----- versions


@pytest.mark.parametrize("hint", ["opened", "returned", "declined", "failed"])
def test_a_hint_older_than_the_newest_is_ignored(hint: str) -> None:
    assert isinstance(SIGNALS[hint](at("verifying", pay_seq=10)), Unchanged)


def test_the_first_word_of_payments_costs_no_write_and_a_later_one_is_remembered() -> None:
    before = at("awaiting_payment")
    first = domain.hear_hint(before, making.opened(before.order_id, 1), now=NOW)
    assert isinstance(first, Unchanged)
    later = domain.hear_hint(before, making.opened(before.order_id, 2), now=NOW)
    assert later == Changed(replace(before, pay_seq=2))


@pytest.mark.parametrize("stage", ["cancelled", "refund_pending", "refunded"])
@pytest.mark.parametrize("signal", ["verified", "refunded"])
def test_after_the_end_only_the_newest_word_on_money_counts(stage: str, signal: str) -> None:
    assert isinstance(SIGNALS[signal](at(stage, money_seq=10)), Unchanged)


def test_money_that_is_only_partly_back_ends_nothing() -> None:
    before = at("on_hold")
    event = making.refunded(before.order_id, 9, outstanding_paisa=1)
    outcome = domain.accept_refund(before, event, now=NOW)
    assert isinstance(outcome, Changed)
    assert outcome.state == replace(before, money_seq=9)


@pytest.mark.parametrize("stage", PAGE)
def test_an_answer_about_another_hold_changes_nothing(stage: str) -> None:
    before = at(stage)
    other = replace(before, hold_no=before.hold_no + 1)
    assert isinstance(domain.accept_reservation(before, making.reserved(other), now=NOW), Unchanged)
    assert isinstance(domain.accept_rejection(before, making.rejected(other), now=NOW), Unchanged)


# ----- what cannot be


@pytest.mark.parametrize("stage", ["awaiting_payment", "expired", "confirmed", "refund_pending"])
def test_money_of_another_amount_is_an_alarm(stage: str) -> None:
    before = at(stage)
    outcome = domain.accept_payment(before, making.verified(before.order_id, 9, 450_01), now=NOW)
    assert isinstance(outcome, Never)


def test_early_money_of_another_amount_is_an_alarm_once_the_total_is_known() -> None:
    early = domain.accept_payment(
        before := at("reserving", total_paisa=None), making.verified(before.order_id, 9, 1), now=NOW
    )
    assert isinstance(early, Changed)
    assert isinstance(SIGNALS["reserved"](early.state), Never)


@pytest.mark.parametrize("signal", [name for name in SIGNALS if name not in {"cancel", "timer"}])
def test_an_event_of_an_unknown_checkout_is_an_alarm(signal: str) -> None:
    known = at("reserving")
    events: dict[str, Any] = {
        "reserved": (domain.accept_reservation, making.reserved(known)),
        "rejected": (domain.accept_rejection, making.rejected(known)),
        "held": (domain.hold_payment, making.held(known.order_id, CASE)),
        "verified": (domain.accept_payment, making.verified(known.order_id)),
        "refunded": (domain.accept_refund, making.refunded(known.order_id)),
    }
    decide, event = events.get(signal, (domain.hear_hint, making.opened(known.order_id)))
    assert isinstance(decide(None, event, now=NOW), Never)


# ----- Fin


@pytest.mark.parametrize(
    "said",
    [
        {"lines": ()},
        {"lines": (domain.Line(new_id(), "kurta", 1),)},
        {"total_paisa": 450_01},
        {"deliveries": ((new_id(), 50_00),)},
    ],
)
def test_an_order_that_does_not_add_up_is_refused_and_the_money_goes_back(said: dict[str, Any]) -> None:
    before = at("awaiting_payment", **said)
    event = making.verified(before.order_id, 9, before.total_paisa or 0)
    outcome = domain.accept_payment(before, event, now=NOW)
    assert isinstance(outcome, Changed)
    assert (outcome.state.stage, outcome.tell[0].TOPIC) == (Stage.REFUND_PENDING, CAN)


def test_cash_on_delivery_waits_for_the_phone_or_becomes_an_order_at_once() -> None:
    cod = at("reserving", method="cod", cod_active=True)
    waiting = SIGNALS["reserved"](cod)
    assert waiting.state.stage is Stage.AWAITING_PHONE
    known = domain.accept_reservation(cod, making.reserved(cod), now=NOW, confirmed_phones={cod.customer_id})
    assert isinstance(known, Changed)
    assert known.state.stage is Stage.CONFIRMED
    confirmed = domain.confirm_phone(
        waiting.state, domain.ConfirmPhone(cod.order_id, Actor("customer", cod.customer_id)), now=NOW
    )
    assert isinstance(confirmed, Changed)
    assert confirmed.state.stage is Stage.CONFIRMED
    assert confirmed.state.cod_active


def test_the_provider_that_was_paid_becomes_the_method() -> None:
    assert SIGNALS["verified"](at("awaiting_payment", method="khalti")).state.method == "esewa"


def test_a_customer_cancels_only_their_own_checkout() -> None:
    before = at("awaiting_payment")
    command = CancelCheckout(before.order_id, Actor("customer", new_id()))
    outcome = domain.cancel(before, command, now=NOW)
    assert isinstance(outcome, Refused)
    assert outcome.code == "NOT_FOUND"


def test_a_second_cancel_of_a_cancelled_checkout_is_no_refusal() -> None:
    assert isinstance(SIGNALS["cancel"](at("cancelled")), Unchanged)
