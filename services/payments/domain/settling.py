"""What an answer of the gateway does to an intent: the one place where money becomes a fact."""

from datetime import datetime
from typing import assert_never

from contracts.payments import PaymentDeclined, PaymentVerified, RefundCause
from services.chassis.decisions import Changed, Decision, Never, altered
from services.payments.domain.commands import Observation
from services.payments.domain.intent import (
    REFUND_STARTS,
    Attempt,
    AttemptStatus,
    Case,
    Charge,
    ChargeKind,
    Intent,
    IntentStatus,
    Refund,
    RefundStatus,
    Step,
    attempt_of,
    both,
    charge_of,
    close_cases,
    moved_attempt,
    open_case,
    open_cases,
    quietly,
    reached,
    reached_attempt,
    telling,
    with_attempt,
    with_charge,
    with_refund,
)
from services.payments.domain.schedule import next_check
from services.payments.domain.window import close_if_over
from services.payments.verdicts import (
    Declined,
    Hold,
    InFlight,
    Mismatch,
    Paid,
    PartiallyRefunded,
    Refunded,
    Unknown,
    Verdict,
)


def settle(intent: Intent | None, seen: Observation) -> Decision[Intent]:
    """One answer about one attempt: judged, then the next question is planned, then the window looked at."""
    if intent is None or (attempt := attempt_of(intent, seen.attempt_id)) is None:
        return Never(f"an answer about attempt {seen.attempt_id}, which {seen.subject_id} does not have")
    judged = _judge(intent, attempt, seen)
    planned = Changed(_planned(judged.state, seen), judged.tell)
    over = close_if_over(planned.state, seen.now)
    return planned if over is None else both(planned, over)


def _judge(intent: Intent, attempt: Attempt, seen: Observation) -> Step:
    if isinstance(seen.verdict, Unknown):
        return quietly(with_attempt(intent, altered(attempt, unknowns=attempt.unknowns + 1)))
    attempt = altered(attempt, answered_at=seen.now, unknowns=0)
    if (charge := charge_of(intent, attempt.id)) is None:
        return _of_no_money_yet(intent, attempt, seen)
    return _of_known_money(with_attempt(intent, attempt), attempt, charge, seen)


def _planned(intent: Intent, seen: Observation) -> Intent:
    attempt = attempt_of(intent, seen.attempt_id)
    assert attempt is not None
    due: datetime | None = None
    if charge_of(intent, attempt.id) is None:
        awaited = intent.status is IntentStatus.AWAITING_PAYMENT
        close_at = intent.close_at if awaited else None
        due = next_check(attempt, seen.plan, seen.now, close_at=close_at, luck=seen.luck)
    if attempt.next_check_at == due:
        return intent
    return with_attempt(intent, altered(attempt, next_check_at=due))


# -- nothing was paid on this attempt so far; each of these puts the answered attempt in its place


def _of_no_money_yet(intent: Intent, attempt: Attempt, seen: Observation) -> Step:
    match seen.verdict:
        case Paid(amount_paisa, txn_id):
            return _take(intent, attempt, seen, amount_paisa, txn_id)
        case Mismatch(_, int() as amount_paisa, str() as txn_id):
            return _take(intent, attempt, seen, amount_paisa, txn_id)
        case Mismatch() | PartiallyRefunded():
            return _suspect(intent, attempt, seen)
        case _:
            clean = _nothing_paid(intent, attempt, seen)
            return both(clean, _lift_suspicion(clean.state, attempt))


def _nothing_paid(intent: Intent, attempt: Attempt, seen: Observation) -> Step:
    match seen.verdict:
        case Declined() | Refunded():
            return _decline(intent, attempt)
        case InFlight():
            return quietly(with_attempt(intent, moved_attempt(attempt, AttemptStatus.IN_FLIGHT)))
        case Hold():
            return quietly(with_attempt(intent, moved_attempt(attempt, AttemptStatus.ON_HOLD)))
        case _:
            return quietly(with_attempt(intent, _unseen(attempt, seen)))


def _take(intent: Intent, attempt: Attempt, seen: Observation, amount_paisa: int, txn_id: str) -> Step:
    """Money moved: a fact, whatever we think of it. What it is to this intent is decided here, once."""
    differs = isinstance(seen.verdict, Mismatch) or amount_paisa != intent.amount_paisa
    kind = ChargeKind.MISMATCH if differs else _kind_of(intent)
    charge = Charge(seen.id, attempt.id, attempt.provider, txn_id, amount_paisa, kind)
    status = AttemptStatus.MISMATCHED if kind is ChargeKind.MISMATCH else AttemptStatus.CONFIRMED
    paid = altered(attempt, status=reached_attempt(attempt, status), next_check_at=None)
    taken = with_charge(intent, paid, charge)
    cleared = _lift_suspicion(taken, attempt)
    return both(cleared, _allocate(cleared.state, charge, seen))


def _lift_suspicion(intent: Intent, attempt: Attempt) -> Step:
    """A plain answer about our own reference ends what an answer about something else has started."""
    suspicions = [case for case in open_cases(intent, "mismatch") if case.attempt_id == attempt.id]
    return close_cases(intent, suspicions, "the gateway's answer is about this attempt now")


def _kind_of(intent: Intent) -> ChargeKind:
    if any(charge.kind in (ChargeKind.APPLIED, ChargeKind.LATE) for charge in intent.charges):
        return ChargeKind.SURPLUS
    return ChargeKind.LATE if intent.status is IntentStatus.CANCELLED else ChargeKind.APPLIED


def _allocate(intent: Intent, charge: Charge, seen: Observation) -> Step:
    cancelled = intent.status is IntentStatus.CANCELLED
    match charge.kind:
        case ChargeKind.APPLIED:
            return _verify(intent, charge, seen)
        case ChargeKind.LATE:
            return _verify(with_refund(intent, _whole(charge, "late")), charge, seen)
        case ChargeKind.SURPLUS:
            return quietly(with_refund(intent, _whole(charge, "surplus")))
        case ChargeKind.MISMATCH if cancelled:
            return quietly(with_refund(intent, _whole(charge, "late")))
        case ChargeKind.MISMATCH:
            return open_case(intent, Case(seen.id, "mismatch", charge.attempt_id))
        case _:
            assert_never(charge.kind)


def _verify(intent: Intent, charge: Charge, seen: Observation) -> Step:
    late = intent.status in (IntentStatus.EXPIRED, IntentStatus.CANCELLED)
    cancelled = intent.status is IntentStatus.CANCELLED  # and stays so: its money only goes back
    status = intent.status if cancelled else reached(intent, IntentStatus.SUCCEEDED)
    assert intent.amount_paisa is not None
    verified = PaymentVerified(
        subject_id=intent.subject_id,
        intent_id=intent.subject_id,
        attempt_id=charge.attempt_id,
        payment_id=charge.id,
        provider=charge.provider,
        amount_paisa=intent.amount_paisa,
        late=late,
        verified_at=seen.now,
    )
    told = telling(altered(intent, status=status, verified_at=seen.now), verified)
    return both(told, close_cases(told.state, open_cases(told.state, "undecided"), "the payment arrived"))


def _whole(charge: Charge, cause: RefundCause) -> Refund:
    start = REFUND_STARTS[charge.provider]
    return Refund(charge.id, charge.id, cause, charge.amount_paisa, start)


def _suspect(intent: Intent, attempt: Attempt, seen: Observation) -> Step:
    """Something was paid that we cannot take as ours: a person looks, and the questions go on."""
    suspect = with_attempt(intent, moved_attempt(attempt, AttemptStatus.MISMATCHED))
    if any(case.attempt_id == attempt.id for case in open_cases(intent, "mismatch")):
        return quietly(suspect)
    return open_case(suspect, Case(seen.id, "mismatch", attempt.id))


def _decline(intent: Intent, attempt: Attempt) -> Step:
    declined = with_attempt(intent, moved_attempt(attempt, AttemptStatus.DECLINED))
    if attempt.status is AttemptStatus.DECLINED or intent.status is not IntentStatus.AWAITING_PAYMENT:
        return quietly(declined)
    told = PaymentDeclined(
        subject_id=intent.subject_id,
        intent_id=intent.subject_id,
        attempt_id=attempt.id,
        provider=attempt.provider,
    )
    return telling(declined, told)


STAYS_UNSEEN = frozenset({AttemptStatus.DECLINED, AttemptStatus.LAPSED, AttemptStatus.CLOSED})


def _unseen(attempt: Attempt, seen: Observation) -> Attempt:
    """NOT_SEEN proves nothing while the attempt is young; later it lapses, at its horizon it is closed."""
    if seen.now >= attempt.closes_at:
        return moved_attempt(attempt, AttemptStatus.CLOSED)
    if attempt.status in STAYS_UNSEEN:
        return attempt
    age = (seen.now - attempt.expires_at).total_seconds()
    return moved_attempt(
        attempt, AttemptStatus.LAPSED if age >= seen.plan.not_seen_grace else AttemptStatus.OPEN
    )


# -- money of this attempt is known


def _of_known_money(intent: Intent, attempt: Attempt, charge: Charge, seen: Observation) -> Step:
    match seen.verdict:
        case Paid() | Mismatch(_, int(), str()):
            return _there_after_all(intent, attempt, charge)
        case Declined() | Refunded() | PartiallyRefunded():
            return _taken_back(intent, attempt, charge, seen)
        case _:
            return quietly(intent)


def _taken_back(intent: Intent, attempt: Attempt, charge: Charge, seen: Observation) -> Step:
    """A reversal opens a case at once. What we gave back ourselves is no reversal."""
    if attempt.status is AttemptStatus.REVERSED or _explained(intent, charge, seen.verdict):
        return quietly(intent)
    reversed_ = with_attempt(intent, moved_attempt(attempt, AttemptStatus.REVERSED))
    return open_case(reversed_, Case(seen.id, "reversed", attempt.id))


def _explained(intent: Intent, charge: Charge, verdict: Verdict) -> bool:
    ours = [refund for refund in intent.refunds if refund.charge_id == charge.id]
    given = sum(refund.amount_paisa for refund in ours if refund.status is not RefundStatus.REJECTED)
    done = sum(refund.amount_paisa for refund in ours if refund.status is RefundStatus.SUCCEEDED)
    match verdict:
        case Refunded():
            return given == charge.amount_paisa
        case PartiallyRefunded():
            return given > 0
        case _:
            return done == charge.amount_paisa


def _there_after_all(intent: Intent, attempt: Attempt, charge: Charge) -> Step:
    mine = [case for case in open_cases(intent, "reversed") if case.attempt_id == attempt.id]
    if not mine:
        return quietly(intent)
    back = AttemptStatus.MISMATCHED if charge.kind is ChargeKind.MISMATCH else AttemptStatus.CONFIRMED
    restored = with_attempt(intent, moved_attempt(attempt, back))
    return close_cases(restored, mine, "the gateway has the money after all")
