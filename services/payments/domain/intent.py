"""The values of payments: an intent with its attempts, charges, refunds, cases, items; how each may move."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias, TypeVar
from uuid import UUID

from contracts.event import Provider
from contracts.payments import HeldReason, PaymentEvent, PaymentHeld, RefundCause
from services.chassis.decisions import Changed, altered

SubjectKind: TypeAlias = Literal["order", "booking"]
Answer: TypeAlias = Literal["finalized", "cancelled"]
ItemStatus: TypeAlias = Literal["ordered", "fulfilled", "cancelled"]


class IntentStatus(StrEnum):
    """EXPIRED is soft: a charge still moves it. CANCELLED takes every charge, too, and gives it back."""

    AWAITING_PAYMENT = "AWAITING_PAYMENT"
    SUCCEEDED = "SUCCEEDED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


INTENT_NEXT: dict[IntentStatus, frozenset[IntentStatus]] = {
    IntentStatus.AWAITING_PAYMENT: frozenset(
        {IntentStatus.SUCCEEDED, IntentStatus.EXPIRED, IntentStatus.CANCELLED}
    ),
    IntentStatus.EXPIRED: frozenset({IntentStatus.SUCCEEDED, IntentStatus.CANCELLED}),
    IntentStatus.SUCCEEDED: frozenset({IntentStatus.CANCELLED}),
    IntentStatus.CANCELLED: frozenset(),
}


class AttemptStatus(StrEnum):
    """DECLINED, LAPSED and CLOSED are soft: later proof of payment wins."""

    OPEN = "OPEN"
    IN_FLIGHT = "IN_FLIGHT"
    ON_HOLD = "ON_HOLD"
    CONFIRMED = "CONFIRMED"
    MISMATCHED = "MISMATCHED"
    DECLINED = "DECLINED"
    LAPSED = "LAPSED"
    CLOSED = "CLOSED"
    REVERSED = "REVERSED"


PROOF = frozenset({AttemptStatus.CONFIRMED, AttemptStatus.MISMATCHED})
SOFT = frozenset({AttemptStatus.DECLINED, AttemptStatus.LAPSED, AttemptStatus.CLOSED})
UNDECIDED = frozenset({AttemptStatus.IN_FLIGHT, AttemptStatus.ON_HOLD})

ATTEMPT_NEXT: dict[AttemptStatus, frozenset[AttemptStatus]] = {
    AttemptStatus.OPEN: PROOF | UNDECIDED | SOFT,
    AttemptStatus.IN_FLIGHT: PROOF | SOFT | {AttemptStatus.ON_HOLD, AttemptStatus.OPEN},
    AttemptStatus.ON_HOLD: PROOF | SOFT | {AttemptStatus.IN_FLIGHT, AttemptStatus.OPEN},
    AttemptStatus.DECLINED: PROOF | UNDECIDED | {AttemptStatus.CLOSED},
    AttemptStatus.LAPSED: PROOF | UNDECIDED | {AttemptStatus.DECLINED, AttemptStatus.CLOSED},
    AttemptStatus.CLOSED: PROOF | UNDECIDED | {AttemptStatus.DECLINED},
    AttemptStatus.CONFIRMED: frozenset({AttemptStatus.REVERSED}),
    # The gateway may come to its senses about what it called paid: until it names money of ours.
    AttemptStatus.MISMATCHED: UNDECIDED
    | SOFT
    | {AttemptStatus.CONFIRMED, AttemptStatus.REVERSED, AttemptStatus.OPEN},
    AttemptStatus.REVERSED: PROOF,  # the gateway says the money is there after all
}


class ChargeKind(StrEnum):
    """What a charge is to its intent: the payment, one too many, one after the end, or the wrong amount."""

    APPLIED = "APPLIED"
    SURPLUS = "SURPLUS"
    LATE = "LATE"
    MISMATCH = "MISMATCH"


class RefundStatus(StrEnum):
    """MANUAL_PENDING: a person sends it back in the gateway's portal. REJECTED: nothing is left to send."""

    MANUAL_PENDING = "MANUAL_PENDING"
    SUCCEEDED = "SUCCEEDED"
    REJECTED = "REJECTED"


REFUND_STARTS: dict[Provider, RefundStatus] = {"esewa": RefundStatus.MANUAL_PENDING}
"""How a refund begins with each gateway; eSewa has no refund call."""

REFUND_NEXT: dict[RefundStatus, frozenset[RefundStatus]] = {
    RefundStatus.MANUAL_PENDING: frozenset({RefundStatus.SUCCEEDED, RefundStatus.REJECTED}),
    RefundStatus.SUCCEEDED: frozenset(),
    RefundStatus.REJECTED: frozenset(),
}


@dataclass(frozen=True)
class Attempt:
    """One try to pay. `answered_at` is the last definite answer, `unknowns` the useless ones since then."""

    id: UUID
    provider: Provider
    reference: str
    merchant_code: str
    amount_paisa: int
    opened_at: datetime
    expires_at: datetime
    closes_at: datetime
    next_check_at: datetime | None
    status: AttemptStatus = AttemptStatus.OPEN
    answered_at: datetime | None = None
    nudged_at: datetime | None = None
    unknowns: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """Money the gateway took, and what it is to the intent; named by the observation that proved it."""

    id: UUID
    attempt_id: UUID
    provider: Provider
    txn_id: str
    amount_paisa: int
    kind: ChargeKind


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back; named by what it gives back, an order item or a charge, so it exists once."""

    id: UUID
    charge_id: UUID
    cause: RefundCause
    amount_paisa: int
    status: RefundStatus
    evidence_ref: str | None = None
    note: str | None = None
    completed_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Something a person looks at, or that resolves itself; `attempt_id` when it is about one attempt."""

    id: UUID
    reason: HeldReason
    attempt_id: UUID | None = None
    open: bool = True
    resolution: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One order item as money sees it; `delivery_paisa` is known once `order.finalized` has been heard."""

    id: UUID
    vendor_id: UUID
    net_paisa: int
    delivery_paisa: int | None = None
    status: ItemStatus = "ordered"


@dataclass(frozen=True)
class Intent:
    """All that payments knows about one subject. Without an amount it was cancelled before it opened."""

    subject_id: UUID
    status: IntentStatus
    subject_kind: SubjectKind = "order"
    customer_id: UUID | None = None
    amount_paisa: int | None = None
    pay_by: datetime | None = None
    close_at: datetime | None = None
    verified_at: datetime | None = None
    answer: Answer | None = None
    traceparent: str = ""
    seq: int = 0
    attempts: tuple[Attempt, ...] = ()
    charges: tuple[Charge, ...] = ()
    refunds: tuple[Refund, ...] = ()
    cases: tuple[Case, ...] = ()
    items: tuple[Item, ...] = ()

    @property
    def has_details(self) -> bool:
        """Whether there is more to read than attempts and charges; most intents never have it."""
        return bool(self.refunds or self.cases or self.items)


Step: TypeAlias = Changed[Intent]
Row = TypeVar("Row", Attempt, Refund, Case, Item)


def quietly(intent: Intent) -> Step:
    """A change nobody needs to hear of."""
    return Changed(intent)


def telling(intent: Intent, *events: PaymentEvent) -> Step:
    return Changed(intent, events)


def both(first: Step, second: Step) -> Step:
    """The second change, made on the state of the first, told after it."""
    if not first.tell:
        return second
    return Changed(second.state, first.tell + second.tell)


def moved(intent: Intent, to: IntentStatus) -> Intent:
    """The intent in its next status."""
    return altered(intent, status=reached(intent, to))


def reached(intent: Intent, to: IntentStatus) -> IntentStatus:
    """The next status; a step the machine does not have is our own mistake."""
    assert to in INTENT_NEXT[intent.status], f"{intent.status} -> {to}"
    return to


def moved_attempt(attempt: Attempt, to: AttemptStatus) -> Attempt:
    """The attempt in its next status; staying where it is is allowed."""
    return altered(attempt, status=reached_attempt(attempt, to))


def reached_attempt(attempt: Attempt, to: AttemptStatus) -> AttemptStatus:
    assert to == attempt.status or to in ATTEMPT_NEXT[attempt.status], f"{attempt.status} -> {to}"
    return to


def with_attempt(intent: Intent, attempt: Attempt) -> Intent:
    return altered(intent, attempts=_put(intent.attempts, attempt))


def with_charge(intent: Intent, attempt: Attempt, charge: Charge) -> Intent:
    """The attempt, and the money it has brought."""
    return altered(intent, attempts=_put(intent.attempts, attempt), charges=(*intent.charges, charge))


def with_refund(intent: Intent, refund: Refund) -> Intent:
    return altered(intent, refunds=_put(intent.refunds, refund))


def with_item(intent: Intent, item: Item) -> Intent:
    return altered(intent, items=_put(intent.items, item))


def attempt_of(intent: Intent, attempt_id: UUID) -> Attempt | None:
    return _find(intent.attempts, attempt_id)


def charge_of(intent: Intent, attempt_id: UUID) -> Charge | None:
    """The one charge an attempt can have."""
    return next((charge for charge in intent.charges if charge.attempt_id == attempt_id), None)


def applied_charge(intent: Intent) -> Charge | None:
    return next((charge for charge in intent.charges if charge.kind is ChargeKind.APPLIED), None)


def open_cases(intent: Intent, reason: HeldReason) -> tuple[Case, ...]:
    if not intent.cases:  # next to always
        return ()
    return tuple(case for case in intent.cases if case.open and case.reason == reason)


def open_case(intent: Intent, case: Case) -> Step:
    return telling(altered(intent, cases=(*intent.cases, case)), _held(intent, case))


def close_cases(intent: Intent, cases: Collection[Case], resolution: str) -> Step:
    """Close these, telling each; with none of them nothing is told."""
    if not cases:
        return quietly(intent)
    closed = [altered(case, open=False, resolution=resolution) for case in cases]
    for case in closed:
        intent = altered(intent, cases=_put(intent.cases, case))
    return telling(intent, *(_held(intent, case) for case in closed))


def _held(intent: Intent, case: Case) -> PaymentHeld:
    return PaymentHeld(subject_id=intent.subject_id, case_id=case.id, reason=case.reason, open=case.open)


def _find(rows: tuple[Attempt, ...], wanted: UUID) -> Attempt | None:
    return next((row for row in rows if row.id == wanted), None)


def _put(rows: tuple[Row, ...], row: Row) -> tuple[Row, ...]:
    """The rows with this one in the place of its former self, or at the end."""
    if row.id not in [known.id for known in rows]:
        return rows + (row,)  # noqa: RUF005 - the type checker loses the row type of a starred tuple
    return tuple([row if known.id == row.id else known for known in rows])
