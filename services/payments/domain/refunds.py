"""Money on its way back: how much of a charge may go, when a refund is done, and what a reversal leaves."""

from contracts.payments import PaymentRefunded
from services.chassis.decisions import Changed, Decision, Refused, Unchanged, altered
from services.payments.domain.commands import RefundCharge, RefundDone, ReversalStands
from services.payments.domain.intent import (
    REFUND_STARTS,
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
    close_cases,
    open_cases,
    quietly,
    telling,
    with_refund,
)


def refunding_paisa(intent: Intent, charge: Charge) -> int:
    """What has gone back of this charge or is on its way."""
    return _sum(intent, charge, frozenset({RefundStatus.MANUAL_PENDING, RefundStatus.SUCCEEDED}))


def outstanding_paisa(intent: Intent) -> int:
    """What we still have of this subject's money: neither given back nor taken back by the gateway."""
    done = frozenset({RefundStatus.SUCCEEDED})
    ours = [charge for charge in intent.charges if not is_gone(intent, charge)]
    return sum(charge.amount_paisa - _sum(intent, charge, done) for charge in ours)


def _sum(intent: Intent, charge: Charge, statuses: frozenset[RefundStatus]) -> int:
    return sum(
        refund.amount_paisa
        for refund in intent.refunds
        if refund.charge_id == charge.id and refund.status in statuses
    )


def is_gone(intent: Intent, charge: Charge) -> bool:
    """Whether the gateway took this money back and a person has decided that it stays so."""
    attempt = attempt_of(intent, charge.attempt_id)
    assert attempt is not None
    return attempt.status is AttemptStatus.REVERSED and not _reversals(intent, charge)


def _reversals(intent: Intent, charge: Charge) -> tuple[Case, ...]:
    return tuple(case for case in open_cases(intent, "reversed") if case.attempt_id == charge.attempt_id)


def complete_refund(intent: Intent | None, done: RefundDone) -> Decision[Intent]:
    """The money is back with its payer: told, and what waited for it is closed."""
    refund = next((one for one in intent.refunds if one.id == done.refund_id), None) if intent else None
    if intent is None or refund is None:
        return Refused("NOT_FOUND")
    if refund.status is RefundStatus.SUCCEEDED and refund.evidence_ref == done.evidence_ref:
        return Unchanged()
    if refund.status is not RefundStatus.MANUAL_PENDING:
        return Refused("INVALID_TRANSITION", f"this refund is {refund.status} already")
    charge = next(one for one in intent.charges if one.id == refund.charge_id)
    if _reversals(intent, charge):
        return Refused(
            "INVALID_TRANSITION", "the gateway may have taken this money back; decide that case first"
        )
    given = altered(
        refund,
        status=RefundStatus.SUCCEEDED,
        evidence_ref=done.evidence_ref,
        note=done.note,
        completed_by=done.by,
    )
    paid_back = with_refund(intent, given)
    told = telling(paid_back, _refunded(paid_back, given))
    return both(told, _close_mismatch(told.state, charge, "the charge was refunded"))


def _refunded(intent: Intent, refund: Refund) -> PaymentRefunded:
    return PaymentRefunded(
        subject_id=intent.subject_id,
        refund_id=refund.id,
        charge_id=refund.charge_id,
        cause=refund.cause,
        amount_paisa=refund.amount_paisa,
        outstanding_paisa=outstanding_paisa(intent),
    )


def _close_mismatch(intent: Intent, charge: Charge, resolution: str) -> Step:
    about = [case for case in open_cases(intent, "mismatch") if case.attempt_id == charge.attempt_id]
    return close_cases(intent, about, resolution)


def refund_charge(intent: Intent | None, wanted: RefundCharge) -> Decision[Intent]:
    """An admin sends a charge of the wrong amount back; every other refund follows from an event."""
    charge = next((one for one in intent.charges if one.id == wanted.charge_id), None) if intent else None
    if intent is None or charge is None or charge.kind is not ChargeKind.MISMATCH:
        return Refused("INVALID_TRANSITION", "only a charge of another amount is refunded by decision")
    if any(refund.id == charge.id for refund in intent.refunds):
        return Unchanged()
    start = REFUND_STARTS[charge.provider]
    return quietly(with_refund(intent, Refund(charge.id, charge.id, "admin", charge.amount_paisa, start)))


def uphold_reversal(intent: Intent | None, stands: ReversalStands) -> Decision[Intent]:
    """The money is gone for good; only once its charge has its answer and no item is open."""
    charge = next((one for one in intent.charges if one.id == stands.charge_id), None) if intent else None
    if intent is None or charge is None or not _reversals(intent, charge):
        return Refused("REVIEW_CASE_CLOSED", "no reversal of this charge is under review")
    if not _has_its_answer(intent, charge):
        return Refused("INVALID_TRANSITION", "cancel what is open in the order first")
    return _let_go(intent, charge)


def _has_its_answer(intent: Intent, charge: Charge) -> bool:
    """Only applied money waits for an answer of orders; nobody will ever give one for any other."""
    if charge.kind is not ChargeKind.APPLIED or intent.status is IntentStatus.CANCELLED:
        return True
    return intent.answer == "finalized" and all(item.status != "ordered" for item in intent.items)


def _let_go(intent: Intent, charge: Charge) -> Step:
    for refund in intent.refunds:
        if refund.charge_id == charge.id and refund.status is RefundStatus.MANUAL_PENDING:
            intent = with_refund(intent, altered(refund, status=RefundStatus.REJECTED))
    stands = close_cases(intent, _reversals(intent, charge), "the reversal stands")
    closed = both(stands, _close_mismatch(stands.state, charge, "the money is gone"))
    if intent.status is not IntentStatus.CANCELLED:
        return closed
    gone = PaymentRefunded(
        subject_id=intent.subject_id,
        refund_id=charge.id,
        charge_id=charge.id,
        cause="admin",
        amount_paisa=charge.amount_paisa,
        outstanding_paisa=outstanding_paisa(closed.state),
    )
    return Changed(closed.state, (gone, *closed.tell))
