"""Door 3, the clock: checkouts past the limit of their stage, old cart lines, missed roll-ups."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

import structlog

from services.chassis.db import Tx
from services.chassis.reconciler import STUCK, Reconciler, every
from services.orders.actions import checkout, items
from services.orders.domain import Checkout, RollUp
from services.orders.store import carts, timers

Found = TypeVar("Found", int, bool)
LOG = structlog.get_logger("orders")
MOST: Final = 500
LEFT_AFTER_S: Final = 5.0
"""A younger checkout is not asked about: nearly all leave `reserving` within milliseconds."""
STOCK: Final = ("stock.reserved", "stock.rejected")
MONEY: Final = (
    "payment.opened",
    "payment.returned",
    "payment.declined",
    "payment.failed",
    "payment.held",
    "payment.verified",
    "payment.refunded",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a checkout may stay in a stage, in seconds."""

    reserve_s: float = 120
    payment_grace_s: float = 8_100
    review_s: float = 7_200
    process_s: float = 7_200
    phone_s: float = 1_800
    refund_s: float = 90_000
    """An hour more than the person has who sends the money back."""


DEFAULT: Final = Limits()


async def unreserved(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> bool:
    """Whether inventory has left anybody waiting for longer than usual."""
    return await timers.any_unreserved(tx, now, min(LEFT_AFTER_S, limits.reserve_s))


async def wait_on(tx: Tx, _: datetime, __: Limits = DEFAULT) -> int:
    """While we cannot hear inventory its silence says nothing: its time to answer stands still."""
    return await timers.spare_asked(tx, "cancel_unreserved", MOST)


@every(seconds=10, once_read=STOCK, due=unreserved, unread=wait_on)
async def cancel_unreserved(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> int:
    """Inventory was asked, all it said was heard, and there is no answer: give up what nobody has paid."""
    await timers.mark_asked(tx, now, min(LEFT_AFTER_S, limits.reserve_s), MOST)
    return await _end(tx, await timers.lock_unreserved(tx, now, limits.reserve_s, MOST))


async def unpaid(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> bool:
    """Whether anybody's time to pay is over: only then it matters what we have read."""
    return await timers.any_unpaid(tx, now, limits.payment_grace_s)


@every(seconds=10, once_read=MONEY, due=unpaid)
async def expire_unpaid(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> int:
    """Nobody paid, and payments, whose last word we have heard, does not say so either."""
    return await _end(tx, await timers.lock_unpaid(tx, now, limits.payment_grace_s, MOST))


@every(seconds=10)
async def expire_unconfirmed_phones(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> int:
    """A phone number that was not confirmed in time gives the stock back."""
    return await _end(tx, await timers.lock_unconfirmed(tx, now, limits.phone_s, MOST))


@every(seconds=10)
async def release_long_reviews(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> int:
    """A case that takes hours keeps its money question, not its stock."""
    return await _end(tx, await timers.lock_reviewed(tx, now, limits.review_s, MOST))


@every(seconds=10)
async def refund_unprocessed(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> int:
    """Paid, and no order came of it in time: the money goes back."""
    return await _end(tx, await timers.lock_unprocessed(tx, now, limits.process_s, MOST))


@every(seconds=60)
async def expire_cart_lines(tx: Tx, now: datetime, _: Limits = DEFAULT) -> int:
    """A cart line nobody touched for 30 days is forgotten."""
    return await carts.expire_lines(tx, now, MOST)


@every(seconds=20)
async def repair_rollups(tx: Tx, _: datetime, __: Limits = DEFAULT) -> int:
    """An order whose items are all done says so, even when the event that should have told it was lost."""
    found = await timers.find_misrolled(tx, MOST)
    return len((await items.roll_up(tx, [RollUp(order_id) for order_id in found])).changed) if found else 0


@every(seconds=20, alarm=STUCK.labels("paid_checkout"))
async def alarm_paid_unreserved(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> int:
    """Paid, and no word about the stock: it is not ours to give up; the word is lost, or waits in a queue."""
    found = await timers.paid_unreserved(tx, now, limits.reserve_s, MOST)
    if found:
        LOG.error("paid, and nothing heard of its stock", checkouts=len(found), oldest=str(found[0]))
    return len(found)


@every(seconds=60, alarm=STUCK.labels("refund_pending"))
async def alarm_unrefunded(tx: Tx, now: datetime, limits: Limits = DEFAULT) -> int:
    """The money is not back: nobody has sent it, or payments never heard of it, or we not of the refund."""
    found = await timers.unrefunded(tx, now, limits.refund_s, MOST)
    if found:
        LOG.error("not refunded", checkouts=len(found), oldest=str(found[0]))
    return len(found)


async def _end(tx: Tx, due: Mapping[UUID, Checkout]) -> int:
    return len((await checkout.expire(tx, due)).changed) if due else 0


ALL: Final = (
    cancel_unreserved,
    expire_unpaid,
    expire_unconfirmed_phones,
    release_long_reviews,
    refund_unprocessed,
    expire_cart_lines,
    repair_rollups,
    alarm_paid_unreserved,
    alarm_unrefunded,
)


def timed(limits: Limits, *, look_every_s: float) -> tuple[Reconciler, ...]:
    """All of them with these limits; none looks less often than it would by itself."""
    return tuple(
        replace(
            one,
            heal=_within(one.heal, limits),
            due=None if one.due is None else _within(one.due, limits),
            every_s=min(one.every_s, look_every_s),
        )
        for one in ALL
    )


def _within(
    duty: Callable[..., Awaitable[Found]], limits: Limits
) -> Callable[[Tx, datetime], Awaitable[Found]]:
    async def look(tx: Tx, now: datetime) -> Found:
        return await duty(tx, now, limits)

    return look
