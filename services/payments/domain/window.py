"""The payment window: how it opens, how a further attempt is made, and how it ends."""

from datetime import datetime, timedelta

from contracts.payments import PaymentFailed, PaymentOpened, PaymentReturned
from services.chassis.decisions import Decision, Never, Refused, Unchanged, altered
from services.payments.domain.commands import (
    LeftUnanswered,
    NewAttempt,
    OpenAttempt,
    OpenIntent,
    PayerReturned,
    WindowClosed,
)
from services.payments.domain.intent import (
    ATTEMPT_NEXT,
    UNDECIDED,
    Attempt,
    AttemptStatus,
    Case,
    Intent,
    IntentStatus,
    Step,
    attempt_of,
    both,
    charge_of,
    close_cases,
    moved,
    open_case,
    open_cases,
    quietly,
    telling,
    with_attempt,
)

WORTH_ASKING = frozenset({AttemptStatus.OPEN, AttemptStatus.LAPSED}) | UNDECIDED


def open_intent(intent: Intent | None, wanted: OpenIntent) -> Decision[Intent]:
    """Held stock opens the window once, unless the order was cancelled before we heard of it.

    Cash asks us for nothing, and a hold made again follows money that is here already.
    """
    if intent is not None or wanted.method == "cod" or wanted.hold_no > 1:
        return Unchanged()
    if wanted.attempt is None:
        return Never(f"nobody can be paid by {wanted.method}")
    opened = Intent(
        wanted.subject_id,
        IntentStatus.AWAITING_PAYMENT,
        subject_kind=wanted.subject_kind,
        customer_id=wanted.customer_id,
        amount_paisa=wanted.amount_paisa,
        pay_by=wanted.pay_by,
        close_at=wanted.close_at,
        traceparent=wanted.envelope.traceparent,
    )
    return _with_new_attempt(opened, wanted.attempt)


def open_attempt(intent: Intent | None, wanted: OpenAttempt) -> Decision[Intent]:
    """Another try, while there is time enough for the payer to finish it."""
    if intent is None or intent.status is not IntentStatus.AWAITING_PAYMENT:
        return Refused("ATTEMPT_NOT_ALLOWED", "this payment is no longer awaited")
    assert intent.pay_by is not None
    if wanted.now > intent.pay_by - timedelta(seconds=wanted.cut_off_s):
        return Refused("ATTEMPT_NOT_ALLOWED", "too little time is left for another attempt")
    if intent.charges or any(attempt.status is AttemptStatus.MISMATCHED for attempt in intent.attempts):
        return Refused("ATTEMPT_NOT_ALLOWED", "money has arrived and a person is looking at it")
    if len(intent.attempts) >= wanted.most:
        return Refused("ATTEMPT_NOT_ALLOWED", f"at most {wanted.most} attempts are possible")
    return _with_new_attempt(intent, wanted.attempt)


def _with_new_attempt(intent: Intent, new: NewAttempt) -> Step:
    assert intent.amount_paisa is not None
    assert intent.pay_by is not None
    assert intent.close_at is not None
    attempt = Attempt(
        new.id,
        new.provider,
        new.reference,
        new.merchant_code,
        intent.amount_paisa,
        opened_at=new.opened_at,
        expires_at=new.expires_at,
        closes_at=new.closes_at,
        next_check_at=min(new.next_check_at, intent.close_at),  # the last lookup is due then in any case
    )
    opened = PaymentOpened(
        subject_id=intent.subject_id,
        intent_id=intent.subject_id,
        attempt_id=attempt.id,
        provider=attempt.provider,
        amount_paisa=intent.amount_paisa,
        pay_by=intent.pay_by,
    )
    return telling(altered(intent, attempts=(*intent.attempts, attempt)), opened)


def hear_return(intent: Intent | None, returned: PayerReturned) -> Decision[Intent]:
    """A return brings a question at once, though not more often than planned; told once per attempt."""
    attempt = attempt_of(intent, returned.attempt_id) if intent else None
    if intent is None or attempt is None or attempt.status not in _ASKABLE:
        return Unchanged()
    if attempt.nudged_at is not None and _seconds(attempt.nudged_at, returned.now) < returned.plan.return_gap:
        return Unchanged()
    nudged = altered(attempt, nudged_at=returned.now, next_check_at=returned.now)
    news = attempt.nudged_at is None and attempt.status in WORTH_ASKING
    if not news or intent.status is not IntentStatus.AWAITING_PAYMENT:
        return quietly(with_attempt(intent, nudged))
    told = PaymentReturned(
        subject_id=intent.subject_id,
        intent_id=intent.subject_id,
        attempt_id=attempt.id,
        provider=attempt.provider,
    )
    return telling(with_attempt(intent, nudged), told)


_ASKABLE = frozenset(status for status, after in ATTEMPT_NEXT.items() if AttemptStatus.CONFIRMED in after) - {
    AttemptStatus.REVERSED
}


def close_window(intent: Intent | None, closed: WindowClosed) -> Decision[Intent]:
    """End a window whose last lookups found nothing; what stays undecided for too long becomes a case."""
    if intent is None or intent.status is not IntentStatus.AWAITING_PAYMENT:
        return Unchanged()
    assert intent.close_at is not None
    if (over := close_if_over(intent, closed.now)) is not None:
        return over
    asked_before = any(case.reason == "undecided" for case in intent.cases)
    if asked_before or open_cases(intent, "mismatch"):
        return Unchanged()
    if closed.now < intent.close_at + timedelta(seconds=closed.patience_s):
        return Unchanged()
    return open_case(intent, Case(closed.id, "undecided"))


def close_if_over(intent: Intent, now: datetime) -> Step | None:
    """EXPIRED, once every attempt was asked after the end and none holds money or may still bring it."""
    if intent.status is not IntentStatus.AWAITING_PAYMENT or intent.close_at is None or now < intent.close_at:
        return None
    if not all(_found_unpaid(intent, one) for one in intent.attempts):
        return None
    decided = close_cases(intent, open_cases(intent, "undecided"), "no attempt was paid")
    return both(decided, _expire(decided.state))


def _found_unpaid(intent: Intent, attempt: Attempt) -> bool:
    if charge_of(intent, attempt.id) is not None:
        return not any(case.open and case.attempt_id == attempt.id for case in intent.cases)
    if attempt.status in UNDECIDED or attempt.status is AttemptStatus.MISMATCHED:
        return False
    assert intent.close_at is not None
    return attempt.answered_at is not None and attempt.answered_at >= intent.close_at


def _expire(intent: Intent) -> Step:
    declined = intent.attempts[-1].status is AttemptStatus.DECLINED
    failed = PaymentFailed(
        subject_id=intent.subject_id,
        intent_id=intent.subject_id,
        reason="declined" if declined else "unpaid",
    )
    return telling(moved(intent, IntentStatus.EXPIRED), failed)


def report_unanswered(intent: Intent | None, left: LeftUnanswered) -> Decision[Intent]:
    """Money without an answer becomes a case, once; the answer closes it."""
    if intent is None or intent.status is not IntentStatus.SUCCEEDED or intent.answer is not None:
        return Unchanged()
    if any(case.reason == "unanswered" for case in intent.cases):
        return Unchanged()
    return open_case(intent, Case(left.id, "unanswered"))


def _seconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()
