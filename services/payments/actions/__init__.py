"""What payments does: lock, decide, save, tell; split by who asks for it."""

from services.payments.actions.again import tell_again
from services.payments.actions.answering import accept_orders, cancel_items, end_checkouts, fulfil_items
from services.payments.actions.opening import open_another, open_intents
from services.payments.actions.refunding import complete_refunds, refund_charges, uphold_reversals
from services.payments.actions.settling import Seen, settle
from services.payments.actions.windows import close_windows, hear_returns, report_unanswered
from services.payments.domain.schedule import Plan

__all__ = [
    "Plan",
    "Seen",
    "accept_orders",
    "cancel_items",
    "close_windows",
    "complete_refunds",
    "end_checkouts",
    "fulfil_items",
    "hear_returns",
    "open_another",
    "open_intents",
    "refund_charges",
    "report_unanswered",
    "settle",
    "tell_again",
    "uphold_reversals",
]
