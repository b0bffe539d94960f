"""What is allowed to happen to an intent: pure values and decisions, split by subject."""

from services.payments.domain.again import TellAgain, tell_payment_again
from services.payments.domain.answers import accept_order, cancel_item, end_checkout, fulfil_item
from services.payments.domain.commands import (
    LeftUnanswered,
    NewAttempt,
    Observation,
    OpenAttempt,
    OpenIntent,
    PayerReturned,
    RefundCharge,
    RefundDone,
    ReversalStands,
    WindowClosed,
)
from services.payments.domain.intent import (
    Attempt,
    AttemptStatus,
    Case,
    Charge,
    ChargeKind,
    Intent,
    IntentStatus,
    Item,
    Refund,
    RefundStatus,
)
from services.payments.domain.refunds import (
    complete_refund,
    outstanding_paisa,
    refund_charge,
    uphold_reversal,
)
from services.payments.domain.schedule import Plan
from services.payments.domain.settling import settle
from services.payments.domain.window import (
    close_window,
    hear_return,
    open_attempt,
    open_intent,
    report_unanswered,
)

__all__ = [
    "Attempt",
    "AttemptStatus",
    "Case",
    "Charge",
    "ChargeKind",
    "Intent",
    "IntentStatus",
    "Item",
    "LeftUnanswered",
    "NewAttempt",
    "Observation",
    "OpenAttempt",
    "OpenIntent",
    "PayerReturned",
    "Plan",
    "Refund",
    "RefundCharge",
    "RefundDone",
    "RefundStatus",
    "ReversalStands",
    "TellAgain",
    "WindowClosed",
    "accept_order",
    "cancel_item",
    "close_window",
    "complete_refund",
    "end_checkout",
    "fulfil_item",
    "hear_return",
    "open_attempt",
    "open_intent",
    "outstanding_paisa",
    "refund_charge",
    "report_unanswered",
    "settle",
    "tell_payment_again",
    "uphold_reversal",
]
