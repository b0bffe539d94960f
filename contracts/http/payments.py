"""What payments answers and is asked: an intent, attempts, the way back from a gateway, refunds, cases."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from contracts.event import Provider
from contracts.http import Answer, Ask, Instant

IntentState: TypeAlias = Literal[
    "open",
    "succeeded",
    "expired",
    "cancelled",
    "under_review",
    "refund_due",
    "partially_refunded",
    "refunded",
]


class Redirect(Answer):
    """Where the payer's browser goes: a form to POST with these fields, or a plain GET."""

    method: Literal["GET", "POST"]
    url: str
    fields: dict[str, str] = Field(default_factory=dict)


class CurrentAttempt(Answer):
    """The attempt to pay with now; `redirect` while it is open."""

    id: UUID
    provider: Provider
    state: Literal["opening", "open", "failed", "closed"]
    redirect: Redirect | None = None


class Intent(Answer):
    """`GET /internal/intents/{subject_id}`: 404 while payments has not heard of the hold."""

    id: UUID
    subject_id: UUID
    customer_id: UUID
    state: IntentState
    amount_paisa: int
    currency: Literal["NPR"] = "NPR"
    pay_by: Instant
    attempt: CurrentAttempt | None = None


class NewAttempt(Ask):
    """`POST /v1/checkouts/{id}/attempts`: pay again, or by another provider."""

    provider: Provider


class Attempt(Answer):
    id: UUID
    checkout_id: UUID
    provider: Provider
    amount_paisa: int
    currency: Literal["NPR"] = "NPR"
    pay_by: Instant
    redirect: Redirect


class Returned(Answer):
    """`GET /v1/payments/return/{provider}/{reference}`: noted, nothing is decided by it."""

    subject_id: UUID
    subject_kind: Literal["order", "booking"] = "order"


RefundState: TypeAlias = Literal["MANUAL_PENDING", "SUCCEEDED", "REJECTED"]
Cause: TypeAlias = Literal["surplus", "item", "order", "late", "admin"]
Reason: TypeAlias = Literal["mismatch", "undecided", "unanswered", "reversed"]


class Refund(Answer):
    """Money on its way back; `MANUAL_PENDING` waits for a person at the gateway's portal."""

    id: UUID
    subject_id: UUID
    charge_id: UUID
    cause: Cause
    amount_paisa: int
    currency: Literal["NPR"] = "NPR"
    state: RefundState
    provider: Provider
    provider_txn_id: str
    requested_at: Instant
    evidence_ref: str | None = None
    note: str | None = None
    completed_at: Instant | None = None


class RefundPage(Answer):
    """`GET /v1/admin/payments/refunds?state=`, newest first."""

    data: list[Refund]
    next: str | None = None
    has_more: bool = False


class CompleteRefund(Ask):
    """`POST /v1/admin/payments/refunds/{id}/complete`: the money is back, and where one can see it."""

    evidence_ref: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    note: Annotated[str, Field(max_length=2000)] = ""


class ReviewCase(Answer):
    """Something about a payment that a person looks at."""

    id: UUID
    subject_id: UUID
    reason: Reason
    open: bool
    attempt_id: UUID | None = None
    resolution: str | None = None
    opened_at: Instant
    closed_at: Instant | None = None


class ReviewCasePage(Answer):
    """`GET /v1/admin/payments/cases?open=`, newest first."""

    data: list[ReviewCase]
    next: str | None = None
    has_more: bool = False


class Verified(Answer):
    """`POST /v1/admin/payments/attempts/{id}/verify`: what the gateway says, and how the attempt stands."""

    attempt_id: UUID
    verdict: str
    state: str
