"""Payments as orders hears them: hints, proven money, cases and refunds."""

from collections.abc import Sequence
from functools import partial

from contracts.payments import PaymentHeld, PaymentRefunded, PaymentVerified
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts, decide_each
from services.orders import domain
from services.orders.actions.telling import settle_checkouts
from services.orders.domain import Checkout
from services.orders.domain.stages import HintEvent
from services.orders.store import checkouts as store


async def accept_payments(tx: Tx, events: Sequence[PaymentVerified]) -> Verdicts[Checkout]:
    """Verified money finalizes its checkout, revives it, or goes back."""
    before = await store.lock_checkouts_numbered(tx, [one.key for one in events])
    verdicts = decide_each(events, before, partial(domain.accept_payment, now=await tx.now()))
    verified = {one.key: one.verified_at for one in events}
    return await settle_checkouts(tx, before, verdicts, paid_at=verified)


async def hear_hints(tx: Tx, events: Sequence[HintEvent]) -> Verdicts[Checkout]:
    """What payments is up to: shown to the customer; only a closed window ends anything."""
    before = await store.lock_checkouts(tx, [one.key for one in events])
    verdicts = decide_each(events, before, partial(domain.hear_hint, now=await tx.now()))
    return await settle_checkouts(tx, before, verdicts)


async def hold_payments(tx: Tx, events: Sequence[PaymentHeld]) -> Verdicts[Checkout]:
    """A person looks at these payments, or no longer does."""
    before = await store.lock_checkouts(tx, [one.key for one in events])
    verdicts = decide_each(events, before, partial(domain.hold_payment, now=await tx.now()))
    return await settle_checkouts(tx, before, verdicts)


async def accept_refunds(tx: Tx, events: Sequence[PaymentRefunded]) -> Verdicts[Checkout]:
    """Money went back."""
    before = await store.lock_checkouts(tx, [one.key for one in events])
    verdicts = decide_each(events, before, partial(domain.accept_refund, now=await tx.now()))
    return await settle_checkouts(tx, before, verdicts)
