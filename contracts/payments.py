"""What payments tells: attempts, money that is proven, windows that closed, cases and refunds."""

from typing import ClassVar, Literal, TypeAlias
from uuid import UUID

from contracts.event import Event, Paisa, Provider, Time

HeldReason: TypeAlias = Literal["mismatch", "undecided", "unanswered", "reversed"]
RefundCause: TypeAlias = Literal["surplus", "item", "order", "late", "admin"]


class PaymentEvent(Event):
    """What all payment events share; the subject is an order or a booking (`ce_subjectkind`)."""

    KEYED_BY: ClassVar = "subject_id"

    subject_id: UUID


class PaymentOpened(PaymentEvent):
    """An attempt can be paid until `pay_by` (for display)."""

    TOPIC: ClassVar = "payment.opened"

    intent_id: UUID
    attempt_id: UUID
    provider: Provider
    amount_paisa: Paisa
    currency: Literal["NPR"] = "NPR"
    pay_by: Time


class PaymentReturned(PaymentEvent):
    """The payer came back from the gateway; we are asking it."""

    TOPIC: ClassVar = "payment.returned"

    intent_id: UUID
    attempt_id: UUID
    provider: Provider


class PaymentDeclined(PaymentEvent):
    """That attempt is over; the payment window is still open."""

    TOPIC: ClassVar = "payment.declined"

    intent_id: UUID
    attempt_id: UUID
    provider: Provider


class PaymentVerified(PaymentEvent):
    """The first charge of equal amount, proven by a server-side lookup; at most one per intent, ever."""

    TOPIC: ClassVar = "payment.verified"

    intent_id: UUID
    attempt_id: UUID
    payment_id: UUID
    provider: Provider
    amount_paisa: Paisa
    currency: Literal["NPR"] = "NPR"
    late: bool
    verified_at: Time


class PaymentFailed(PaymentEvent):
    """The window closed and a last lookup of every attempt found no money."""

    TOPIC: ClassVar = "payment.failed"

    intent_id: UUID
    reason: Literal["unpaid", "declined"]


class PaymentHeld(PaymentEvent):
    """A case about this payment was opened or closed; a person is looking."""

    TOPIC: ClassVar = "payment.held"

    case_id: UUID
    reason: HeldReason
    open: bool


class PaymentRefunded(PaymentEvent):
    """Money went back; `outstanding_paisa` is what is still to be refunded of this subject's charges."""

    TOPIC: ClassVar = "payment.refunded"

    refund_id: UUID
    charge_id: UUID
    cause: RefundCause
    amount_paisa: Paisa
    currency: Literal["NPR"] = "NPR"
    outstanding_paisa: Paisa
