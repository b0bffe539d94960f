"""A payment that nobody has answered is told once more: nothing but the event's number is new."""

from dataclasses import dataclass, field
from uuid import UUID

from contracts.event import Envelope
from contracts.payments import PaymentVerified
from services.chassis.decisions import Decision, Refused
from services.payments.domain.intent import Intent, IntentStatus, applied_charge, telling


@dataclass(frozen=True, slots=True)
class TellAgain:
    """Orders acts as if it had never heard that this is paid."""

    subject_id: UUID
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.subject_id


def tell_payment_again(intent: Intent | None, _: TellAgain) -> Decision[Intent]:
    """The proven money, as it was told the first time; refused once orders has answered."""
    if intent is None:
        return Refused("NOT_FOUND", "There is no such intent.")
    charge = applied_charge(intent)
    if intent.status is not IntentStatus.SUCCEEDED or charge is None or intent.verified_at is None:
        return Refused("NOT_PAID", f"It is {intent.status}: there is no payment to tell.")
    if intent.answer is not None:
        return Refused("ANSWERED", f"Orders has answered: {intent.answer}.")
    assert intent.amount_paisa is not None, "what is paid has an amount"
    told = PaymentVerified(
        subject_id=intent.subject_id,
        intent_id=intent.subject_id,
        attempt_id=charge.attempt_id,
        payment_id=charge.id,
        provider=charge.provider,
        amount_paisa=intent.amount_paisa,
        late=intent.close_at is not None and intent.verified_at > intent.close_at,
        verified_at=intent.verified_at,
    )
    return telling(intent, told)
