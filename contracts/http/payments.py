"""What payments answers and is asked: an intent, another attempt, the way back from a gateway."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from contracts.event import Provider
from contracts.http import Answer, Ask

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
    pay_by: datetime
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
    pay_by: datetime
    redirect: Redirect


class Returned(Answer):
    """`GET /v1/payments/return/{provider}/{reference}`: noted, nothing is decided by it."""

    subject_id: UUID
    subject_kind: Literal["order", "booking"] = "order"


class NewRefund(Ask):
    """`POST /v1/admin/payments/{charge_id}/refunds`."""

    amount_paisa: Annotated[int, Field(ge=1, le=10**15)]
    reason: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
