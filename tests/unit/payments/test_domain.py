"""Every verdict in every state, every interleaving of a small world: no money lost, doubled or forgotten."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar
from uuid import UUID

import pytest

from contracts.event import Event
from contracts.orders import FinalizedItem, ItemCancelled, OrderCancelled, OrderFinalized
from services.chassis.decisions import Changed, Decision, Refused, Unchanged
from services.payments import domain
from services.payments.domain import (
    Attempt,
    AttemptStatus,
    Charge,
    ChargeKind,
    Intent,
    IntentStatus,
    Observation,
    RefundStatus,
)
from services.payments.domain.intent import ATTEMPT_NEXT, INTENT_NEXT, REFUND_NEXT
from services.payments.verdicts import (
    Declined,
    Hold,
    InFlight,
    Mismatch,
    NotSeen,
    Paid,
    PartiallyRefunded,
    Refunded,
    Unknown,
    Verdict,
)

T0 = datetime(2026, 11, 21, tzinfo=UTC)
PAY_BY, CLOSE_AT = T0 + timedelta(minutes=15), T0 + timedelta(minutes=17)
AFTER, MUCH_LATER = CLOSE_AT + timedelta(seconds=1), CLOSE_AT + timedelta(hours=3)
ORDER, CUSTOMER, VENDOR, ADMIN, ITEM = (UUID(int=number) for number in range(1, 6))
TOTAL = 34_900
FIRST, SECOND = UUID(int=101), UUID(int=102)


def new_attempt(number: UUID) -> domain.NewAttempt:
    expires_at = T0 + timedelta(minutes=15)
    closes_at = expires_at + timedelta(days=7)
    return domain.NewAttempt(
        number, "esewa", number.hex, "M", T0, expires_at, closes_at, T0 + timedelta(minutes=1)
    )


def opening(**changes: object) -> domain.OpenIntent:
    facts: dict[str, Any] = {
        "subject_id": ORDER,
        "subject_kind": "order",
        "customer_id": CUSTOMER,
        "method": "esewa",
        "hold_no": 1,
        "amount_paisa": TOTAL,
        "pay_by": PAY_BY,
        "close_at": CLOSE_AT,
        "attempt": new_attempt(FIRST),
    }
    return domain.OpenIntent(**(facts | changes))


def after(decision: Decision[Intent]) -> Intent:
    assert isinstance(decision, Changed), decision
    return decision.state


def told(decision: Decision[Intent]) -> list[str]:
    return [event.TOPIC for event in decision.tell] if isinstance(decision, Changed) else []


def an_intent() -> Intent:
    return after(domain.open_intent(None, opening()))


def seen(verdict: Verdict, *, attempt: UUID = FIRST, now: datetime = T0, number: int = 0) -> Observation:
    return Observation(ORDER, UUID(int=1000 + number), attempt, verdict, now)


FINALIZED = OrderFinalized(
    order_id=ORDER,
    order_number="ORD-1",
    customer_id=CUSTOMER,
    hold_no=1,
    method="esewa",
    total_paisa=TOTAL,
    items=(FinalizedItem(id=ITEM, sku="S", quantity=1, vendor_id=VENDOR, net_paisa=TOTAL, delivery_paisa=0),),
    finalized_at=T0,
)
CANCELLED = OrderCancelled(order_id=ORDER, finalized=False, reason="customer")
ITEM_CANCELLED = ItemCancelled(
    order_id=ORDER,
    item_id=ITEM,
    sku="S",
    quantity=1,
    vendor_id=VENDOR,
    method="esewa",
    net_paisa=TOTAL,
    restock=True,
    refund_paisa=TOTAL,
    cancelled_by="customer",
    reason="",
)

VERDICTS: list[Verdict] = [
    Paid(TOTAL, "T1"),
    InFlight(),
    Hold(),
    NotSeen(),
    Declined(),
    Refunded(),
    PartiallyRefunded(),
    Mismatch("amount", 1, "T1"),
    Mismatch("another reference"),
    Unknown("HTTP 500"),
]


def standing(status: AttemptStatus, intent_status: IntentStatus, *, charged: bool) -> Intent:
    """An intent in this status whose first attempt stands so; paid intents have their money from another one.

    What is open or expired has no applied money, so its charge is one of another amount, under review.
    """
    intent = replace(an_intent(), status=intent_status)
    attempts = [replace(intent.attempts[0], status=status)]
    if intent_status is IntentStatus.SUCCEEDED and not charged:
        attempts.append(replace(attempts[0], id=SECOND, status=AttemptStatus.CONFIRMED))
        charge = Charge(UUID(int=8), SECOND, "esewa", "T0", TOTAL, ChargeKind.APPLIED)
        return replace(intent, attempts=tuple(attempts), charges=(charge,))
    if not charged:
        return replace(intent, attempts=tuple(attempts))
    charge = Charge(UUID(int=9), FIRST, "esewa", "T1", TOTAL, KINDS.get(intent_status, ChargeKind.MISMATCH))
    if charge.kind is not ChargeKind.MISMATCH:
        return replace(intent, attempts=tuple(attempts), charges=(charge,))
    if status is AttemptStatus.CONFIRMED:
        attempts[0] = replace(attempts[0], status=AttemptStatus.MISMATCHED)
    case = domain.Case(charge.id, "mismatch", FIRST)
    return replace(
        intent, attempts=tuple(attempts), charges=(replace(charge, amount_paisa=1),), cases=(case,)
    )


KINDS = {IntentStatus.SUCCEEDED: ChargeKind.APPLIED, IntentStatus.CANCELLED: ChargeKind.LATE}
WITH_CHARGE = {AttemptStatus.CONFIRMED, AttemptStatus.REVERSED, AttemptStatus.MISMATCHED}
WITHOUT_CHARGE = set(AttemptStatus) - {AttemptStatus.CONFIRMED, AttemptStatus.REVERSED}
STANDINGS = [(one, True) for one in sorted(WITH_CHARGE)] + [(one, False) for one in sorted(WITHOUT_CHARGE)]


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: type(verdict).__name__)
@pytest.mark.parametrize(("status", "charged"), STANDINGS)
@pytest.mark.parametrize("intent_status", IntentStatus)
def test_every_verdict_in_every_state_is_decided_and_keeps_the_money(
    verdict: Verdict, status: AttemptStatus, intent_status: IntentStatus, *, charged: bool
) -> None:
    intent = standing(status, intent_status, charged=charged)
    for now in (T0, AFTER, MUCH_LATER, T0 + timedelta(days=30)):
        later = after(domain.settle(intent, seen(verdict, now=now)))
        assert set(intent.charges) <= set(later.charges)
        if isinstance(verdict, Unknown):
            assert (later.status, later.charges) == (intent_status, intent.charges)
        if isinstance(verdict, Paid):
            assert [charge.attempt_id for charge in later.charges].count(FIRST) == 1
        rests = {AttemptStatus.CLOSED, AttemptStatus.CONFIRMED, AttemptStatus.REVERSED}
        attempt = later.attempts[0]
        assert attempt.next_check_at or attempt.status in rests or later.charges


def test_the_machines_know_every_state_and_lead_nowhere_else() -> None:
    for machine, states in (
        (INTENT_NEXT, IntentStatus),
        (ATTEMPT_NEXT, AttemptStatus),
        (REFUND_NEXT, RefundStatus),
    ):
        assert set(machine) == set(states)
        for before, nexts in machine.items():
            assert before not in nexts
    assert all(
        AttemptStatus.CONFIRMED in ATTEMPT_NEXT[soft]
        for soft in AttemptStatus
        if soft != AttemptStatus.CONFIRMED
    )
    assert not any(IntentStatus.AWAITING_PAYMENT in nexts for nexts in INTENT_NEXT.values())


# -- a small world, every interleaving


C = TypeVar("C")


def by(
    decide: Callable[[Intent | None, C], Decision[Intent]], cause: C
) -> Callable[[Intent | None], Decision[Intent]]:
    return lambda state: decide(state, cause)


Move = tuple[str, Callable[[Intent | None], Decision[Intent]]]


def moves(intent: Intent | None, *, attempts: int, mismatch: bool, reversal: bool) -> Iterator[Move]:
    """Everything that can happen to payments next; duplicates included, since everything may come twice."""
    yield "reserved", lambda state: domain.open_intent(state, opening())
    yield "cancelled", lambda state: domain.end_checkout(state, CANCELLED)
    if intent is None:
        return
    second = domain.OpenAttempt(ORDER, new_attempt(SECOND), T0, cut_off_s=300, most=attempts)
    yield "another", lambda state: domain.open_attempt(state, second)
    yield "window", lambda state: domain.close_window(state, domain.WindowClosed(ORDER, UUID(int=77), AFTER))
    yield (
        "patience",
        lambda state: domain.close_window(state, domain.WindowClosed(ORDER, UUID(int=77), MUCH_LATER)),
    )
    yield (
        "unanswered",
        lambda state: domain.report_unanswered(state, domain.LeftUnanswered(ORDER, UUID(int=78))),
    )
    yield from _gateway_moves(intent, mismatch=mismatch, reversal=reversal)
    if intent.status is IntentStatus.SUCCEEDED or intent.answer == "finalized":
        yield "finalized", lambda state: domain.accept_order(state, FINALIZED)
    if intent.answer == "finalized":
        yield "item cancelled", lambda state: domain.cancel_item(state, ITEM_CANCELLED)
    for refund in intent.refunds:
        done = domain.RefundDone(ORDER, refund.id, "P", "", ADMIN)
        yield f"refunded {refund.id}", by(domain.complete_refund, done)
    for charge in intent.charges:
        back = domain.RefundCharge(ORDER, charge.id)
        yield f"refund by decision {charge.id}", by(domain.refund_charge, back)
        stands = domain.ReversalStands(ORDER, charge.id)
        yield (
            f"reversal stands {charge.id}",
            by(domain.uphold_reversal, stands),
        )


def _gateway_moves(intent: Intent, *, mismatch: bool, reversal: bool) -> Iterator[Move]:
    for place, attempt in enumerate(intent.attempts):
        verdicts: list[Verdict] = [Paid(TOTAL, f"T{place}"), NotSeen(), Hold()]
        verdicts += [Mismatch("amount", 1, f"T{place}")] if mismatch else []
        verdicts += [Declined()] if reversal else []
        for number, verdict in enumerate(verdicts):
            cause = seen(verdict, attempt=attempt.id, now=AFTER, number=100 * place + number)
            yield f"{type(verdict).__name__} {place}", by(domain.settle, cause)


def normal(intent: Intent | None) -> Intent | None:
    """Without what only counts or only remembers: two states that differ in nothing else go on alike."""
    if intent is None:
        return None
    rules = {"undecided", "unanswered"}  # opened once, so a closed one still matters
    cases = [case for case in intent.cases if case.open or case.reason in rules]
    return replace(
        intent,
        seq=0,
        attempts=tuple(replace(one, next_check_at=None) for one in intent.attempts),
        cases=tuple(sorted((replace(case, resolution=None) for case in cases), key=lambda case: case.id)),
        refunds=tuple(sorted(intent.refunds, key=lambda refund: refund.id)),
    )


def explore(
    **world: bool,
) -> Iterator[tuple[tuple[str, ...], Intent | None, str, Decision[Intent], tuple[str, ...]]]:
    """Every reachable state and every move from it, with the way there and what was told on it."""
    start: tuple[Intent | None, tuple[str, ...]] = (None, ())
    known = {start}
    waiting: deque[tuple[tuple[Intent | None, tuple[str, ...]], tuple[str, ...]]] = deque([(start, ())])
    while waiting:
        (intent, facts), way = waiting.popleft()
        for label, move in moves(intent, **world):
            decision = move(intent)
            news = tuple(topic for topic in told(decision) if topic in {"payment.verified", "payment.failed"})
            yield way, intent, label, decision, facts + news
            if isinstance(decision, Changed):
                reached = (normal(decision.state), facts + news)
                if reached not in known:
                    known.add(reached)
                    waiting.append((reached, (*way, label)))


WORLDS: list[dict[str, Any]] = [
    {"attempts": 1, "mismatch": True, "reversal": True},
    {"attempts": 2, "mismatch": True, "reversal": False},
    {"attempts": 2, "mismatch": False, "reversal": True},
]


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_whatever_comes_in_whatever_order_money_is_applied_or_goes_back(world: dict[str, Any]) -> None:
    explored = 0
    for way, _, label, decision, facts in explore(**world):
        explored += 1
        if isinstance(decision, Changed):
            problems = list(violations(decision.state, facts, label, told(decision)))
            assert not problems, (*way, label, *problems)
    assert explored > 1000


def violations(intent: Intent, facts: tuple[str, ...], label: str, news: list[str]) -> Iterator[str]:
    """What must hold in every state."""
    kinds = [charge.kind for charge in intent.charges]
    if facts.count("payment.verified") != kinds.count(ChargeKind.APPLIED) + kinds.count(ChargeKind.LATE):
        yield "verified is not told exactly once for the one applied or late charge"
    if facts.count("payment.verified") > 1 or facts.count("payment.failed") > 1:
        yield "told twice"
    if len({charge.attempt_id for charge in intent.charges}) != len(intent.charges):
        yield "an attempt charged twice"
    for charge in intent.charges:
        yield from _charge_violations(intent, charge)
    given = domain.outstanding_paisa(intent)
    if given < 0:
        yield "more went back than came"
    if label.startswith("refunded") and "payment.refunded" not in news:
        yield "a refund was not told"
    if intent.status is not IntentStatus.CANCELLED and any(
        one.cause in {"order", "late"} for one in intent.refunds
    ):
        yield "an order's money goes back although nobody cancelled it"
    open_ids = [case.id for case in intent.cases if case.open]
    if len(open_ids) != len(set(open_ids)):
        yield "two cases of one id"
    if intent.status is IntentStatus.EXPIRED and any(
        case.open and case.reason == "undecided" for case in intent.cases
    ):
        yield "decided, but still under review"


def _charge_violations(intent: Intent, charge: Charge) -> Iterator[str]:
    mine = [one for one in intent.refunds if one.charge_id == charge.id]
    going = sum(one.amount_paisa for one in mine if one.status is not RefundStatus.REJECTED)
    held = any(case.open and case.attempt_id == charge.attempt_id for case in intent.cases)
    gone = (
        intent.attempts[[one.id for one in intent.attempts].index(charge.attempt_id)].status
        is AttemptStatus.REVERSED
    )
    if going > charge.amount_paisa:
        yield "refunds exceed their charge"
    if charge.kind is ChargeKind.APPLIED and intent.status is IntentStatus.SUCCEEDED:
        return
    if going != charge.amount_paisa and not held and not gone:
        yield f"charge of kind {charge.kind} is neither applied, nor going back, nor under review"


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_the_same_cause_again_changes_nothing_that_matters(world: dict[str, Any]) -> None:
    for way, _, label, decision, _ in explore(**world):
        if not isinstance(decision, Changed) or label == "another":
            continue
        repeated = dict(moves(decision.state, **world)).get(label)
        if repeated is None:
            continue
        again = repeated(decision.state)
        assert not told(again), (*way, label, told(again))
        if isinstance(again, Changed):
            assert again.state.charges == decision.state.charges
            assert again.state.refunds == decision.state.refunds


# -- single rules


def test_a_late_charge_of_a_cancelled_checkout_is_told_and_goes_back() -> None:
    ended = after(domain.end_checkout(an_intent(), CANCELLED))
    decided = domain.settle(ended, seen(Paid(TOTAL, "T")))
    assert told(decided) == ["payment.verified"]
    assert [one.cause for one in after(decided).refunds] == ["late"]


def test_no_attempt_is_opened_when_too_little_time_is_left() -> None:
    for left, expected in ((301, Changed), (299, Refused)):
        wanted = domain.OpenAttempt(ORDER, new_attempt(SECOND), PAY_BY - timedelta(seconds=left), 300, 10)
        assert isinstance(domain.open_attempt(an_intent(), wanted), expected)


def test_a_tombstone_opens_nothing() -> None:
    tombstone = after(domain.end_checkout(None, CANCELLED))
    assert domain.open_intent(tombstone, opening()) == Unchanged()


def test_undecided_answers_put_the_end_off_until_patience_ends_and_then_decide_themselves() -> None:
    pending = after(domain.settle(an_intent(), seen(InFlight(), now=AFTER)))
    assert pending.status is IntentStatus.AWAITING_PAYMENT
    early = domain.close_window(pending, domain.WindowClosed(ORDER, UUID(int=7), AFTER))
    assert early == Unchanged()
    held = domain.close_window(pending, domain.WindowClosed(ORDER, UUID(int=7), MUCH_LATER))
    assert told(held) == ["payment.held"]
    decided = domain.settle(after(held), seen(NotSeen(), now=MUCH_LATER))
    assert told(decided) == ["payment.held", "payment.failed"]


def test_a_payment_clears_the_case_that_waited_for_it() -> None:
    pending = after(domain.settle(an_intent(), seen(Hold(), now=AFTER)))
    held = after(domain.close_window(pending, domain.WindowClosed(ORDER, UUID(int=7), MUCH_LATER)))
    assert told(domain.settle(held, seen(Paid(TOTAL, "T"), now=MUCH_LATER))) == [
        "payment.verified",
        "payment.held",
    ]


def test_a_reversal_is_decided_only_after_the_answer_and_money_that_is_gone_is_not_refunded() -> None:
    paid = after(domain.settle(an_intent(), seen(Paid(TOTAL, "T"))))
    reversed_ = after(domain.settle(paid, seen(Declined(), number=1)))
    stands = domain.ReversalStands(ORDER, paid.charges[0].id)
    assert isinstance(domain.uphold_reversal(reversed_, stands), Refused)
    ended = after(domain.end_checkout(reversed_, CANCELLED))
    decided = domain.uphold_reversal(ended, stands)
    assert told(decided) == ["payment.refunded", "payment.held"]
    assert [one.status for one in after(decided).refunds] == [RefundStatus.REJECTED]


def _sequence(plan: domain.Plan, answers: Callable[[Attempt], Attempt], count: int) -> list[float]:
    """How long after its opening an attempt is asked about, with these answers."""
    attempt, times = an_intent().attempts[0], []
    now = T0
    for _ in range(count):
        due = domain.schedule.next_check(attempt, plan, now, close_at=None, luck=0.0)
        if due is None:
            break
        now = due
        times.append((now - T0).total_seconds())
        attempt = answers(attempt)
    return times


def test_an_attempt_is_asked_about_ever_more_rarely_and_for_seven_days() -> None:
    times = _sequence(domain.Plan(), lambda attempt: attempt, 12)
    ttl = 900
    expected = [
        60,
        120,
        300,
        600,
        ttl + 120,
        1200,
        ttl + 900,
        ttl + 3600,
        ttl + 21_600,
        ttl + 86_400,
        ttl + 259_200,
    ]
    assert times == [*expected, ttl + 7 * 86_400]


def test_useless_answers_are_asked_again_soon_and_then_less_soon() -> None:
    times = _sequence(domain.Plan(), lambda attempt: replace(attempt, unknowns=attempt.unknowns + 1), 5)
    assert times[0] == 60
    assert [later - earlier for earlier, later in pairwise(times)] == [5, 10, 20, 25]


def test_jitter_only_delays_and_never_past_the_last_lookup() -> None:
    attempt = an_intent().attempts[0]
    for luck in (0.0, 0.5, 0.999):
        due = domain.schedule.next_check(attempt, domain.Plan(), T0, close_at=CLOSE_AT, luck=luck)
        assert due is not None
        assert T0 + timedelta(seconds=60) <= due <= T0 + timedelta(seconds=72)
    late = domain.schedule.next_check(
        attempt, domain.Plan(), T0 + timedelta(minutes=16), close_at=CLOSE_AT, luck=0.9
    )
    assert late == CLOSE_AT


def test_a_refund_waits_while_the_gateway_may_have_taken_the_money_back() -> None:
    paid = after(domain.settle(an_intent(), seen(Paid(TOTAL, "T"))))
    ended = after(domain.end_checkout(paid, CANCELLED))
    reversed_ = after(domain.settle(ended, seen(Declined(), number=1)))
    done = domain.RefundDone(ORDER, paid.charges[0].id, "P", "", ADMIN)
    assert isinstance(domain.complete_refund(reversed_, done), Refused)
    there = after(domain.settle(reversed_, seen(Paid(TOTAL, "T"), number=2)))
    assert told(domain.complete_refund(there, done)) == ["payment.refunded"]


def test_a_window_stays_open_while_money_of_another_amount_is_under_review() -> None:
    held = after(domain.settle(an_intent(), seen(Mismatch("less", 1, "T"), now=AFTER)))
    assert domain.close_window(held, domain.WindowClosed(ORDER, UUID(int=7), AFTER)) == Unchanged()
    back = after(domain.refund_charge(held, domain.RefundCharge(ORDER, held.charges[0].id)))
    given = after(domain.complete_refund(back, domain.RefundDone(ORDER, held.charges[0].id, "P", "", ADMIN)))
    assert told(domain.close_window(given, domain.WindowClosed(ORDER, UUID(int=7), AFTER))) == [
        "payment.failed"
    ]


def test_every_event_names_its_subject() -> None:
    decided = domain.settle(an_intent(), seen(Paid(TOTAL, "T")))
    assert isinstance(decided, Changed)
    events: tuple[Event, ...] = decided.tell
    assert [event.key for event in events] == [ORDER]
