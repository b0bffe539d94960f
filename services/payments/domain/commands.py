"""What moves an intent besides the events; ids, times and luck are brought along, never made here."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from contracts.event import Envelope, Method, Provider
from services.payments.domain.intent import SubjectKind
from services.payments.domain.schedule import DEFAULT, Plan
from services.payments.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Command:
    """Every command names its intent and the flow it belongs to."""

    subject_id: UUID
    envelope: Envelope = field(default=Envelope(), kw_only=True)

    @property
    def key(self) -> UUID:
        return self.subject_id


class NewAttempt(NamedTuple):
    """The frozen facts of one more try to pay."""

    id: UUID
    provider: Provider
    reference: str
    merchant_code: str
    opened_at: datetime
    expires_at: datetime
    closes_at: datetime
    next_check_at: datetime


@dataclass(frozen=True, slots=True)
class OpenIntent(Command):
    """Stock is held and summed: this much is to be paid until `pay_by`."""

    subject_kind: SubjectKind
    customer_id: UUID
    method: Method
    hold_no: int
    amount_paisa: int
    pay_by: datetime
    close_at: datetime
    attempt: NewAttempt | None
    """None when no gateway of ours takes this method."""


@dataclass(frozen=True, slots=True)
class OpenAttempt(Command):
    """The payer wants to try again; every earlier attempt has just been asked about."""

    attempt: NewAttempt
    now: datetime
    cut_off_s: float
    most: int


@dataclass(frozen=True, slots=True)
class Observation(Command):
    """What the gateway said about one attempt. Its id names the charge, or the case, that it brings about."""

    id: UUID
    attempt_id: UUID
    verdict: Verdict
    now: datetime
    plan: Plan = DEFAULT
    luck: float = 0.0


@dataclass(frozen=True, slots=True)
class PayerReturned(Command):
    """A browser came back for this attempt: a hint, whatever it carried."""

    attempt_id: UUID
    now: datetime
    plan: Plan = DEFAULT


@dataclass(frozen=True, slots=True)
class WindowClosed(Command):
    """The window of this intent may be over. `id` names the case that is opened when it cannot be decided."""

    id: UUID
    now: datetime
    patience_s: float = 7200


@dataclass(frozen=True, slots=True)
class LeftUnanswered(Command):
    """Orders has been told of the payment long ago and has not answered; `id` names the case."""

    id: UUID


@dataclass(frozen=True, slots=True)
class RefundDone(Command):
    """A person gave the money back at the gateway and says where that can be seen."""

    refund_id: UUID
    evidence_ref: str
    note: str
    by: UUID


@dataclass(frozen=True, slots=True)
class RefundCharge(Command):
    """An admin decides that a charge under review goes back."""

    charge_id: UUID


@dataclass(frozen=True, slots=True)
class ReversalStands(Command):
    """An admin decides that money the gateway took back is gone for good."""

    charge_id: UUID
