"""Giving money back: what people decide and prove about refunds and reversals."""

from collections.abc import Sequence

from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.payments import domain
from services.payments.actions.story import move


async def complete_refunds(tx: Tx, done: Sequence[domain.RefundDone]) -> Verdicts[domain.Intent]:
    """Refunds made by hand at the gateway, with their evidence."""
    return await move(tx, done, domain.complete_refund)


async def refund_charges(tx: Tx, wanted: Sequence[domain.RefundCharge]) -> Verdicts[domain.Intent]:
    """Charges of another amount that somebody decided to send back."""
    return await move(tx, wanted, domain.refund_charge)


async def uphold_reversals(tx: Tx, stands: Sequence[domain.ReversalStands]) -> Verdicts[domain.Intent]:
    """Money that is gone for good."""
    return await move(tx, stands, domain.uphold_reversal)
