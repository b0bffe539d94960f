"""What orders says about its own work: every stage has a limit, and nothing may be past it for long."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from prometheus_client import Gauge

from services.chassis.business import DAY, MOST, Numbers, newest_since
from services.chassis.db import Tx
from services.chassis.gauges import Measure
from services.chassis.reconciler import STUCK
from services.orders.reconcilers import Limits
from services.orders.store import health, timers

SLACK_S: Final = 30.0
"""Beyond its limit, a checkout has so long to be healed before it counts as stuck."""
NEWEST: Final = 500
"""Of so many orders the gauge says whether they have items; every few seconds is often for more."""
CHECKOUTS: Final = Gauge("kb_checkouts", "Checkouts in a stage they may leave by themselves.", ["stage"])
OLDEST: Final = Gauge("kb_checkout_oldest_seconds", "How long the first of them has been in it.", ["stage"])
WITHOUT_ITEMS: Final = Gauge("kb_orders_without_items", "Orders without items among the newest ones.")


def numbers_of(limits: Limits) -> Numbers:
    """The numbers, with what is stuck by these limits."""

    async def numbers(tx: Tx, now: datetime) -> dict[str, Any]:
        since = newest_since(now - DAY)
        waiting = await health.under_way(tx, list(longest(limits)), MOST)
        alarms = {
            "paid_checkout": len(await timers.paid_unreserved(tx, now, limits.reserve_s, MOST)),
            "refund_pending": len(await timers.unrefunded(tx, now, limits.refund_s, MOST)),
        }
        return {
            "counts": {
                "under_way": {stage: one.number for stage, one in waiting.items()},
                "checkouts_last_day": await health.newest_checkouts(tx, since, MOST),
                "orders_last_day": await health.newest_orders(tx, since, MOST),
            },
            "stuck": await health.stuck_checkouts(tx, longest(limits), MOST)
            | {kind: number for kind, number in alarms.items() if number},
            "orders_without_items": await health.orders_without_items(tx, since, MOST),
        }

    return numbers


def measuring(limits: Limits) -> Measure:
    """The same as gauges, with what is stuck by these limits; what only a person can move, duties say."""
    stages = longest(limits)

    async def measure(tx: Tx) -> None:
        for stage, waiting in (await health.under_way(tx, list(stages), MOST)).items():
            CHECKOUTS.labels(stage).set(waiting.number)
            OLDEST.labels(stage).set(waiting.oldest_s)
        stuck = await health.stuck_checkouts(tx, stages, MOST)
        for stage in stages:
            STUCK.labels(f"checkout_{stage}").set(stuck.get(stage, 0))
        since = newest_since(await tx.now() - DAY)
        WITHOUT_ITEMS.set(await health.orders_without_items(tx, since, NEWEST))

    return measure


def longest(limits: Limits) -> Mapping[str, float]:
    """How long a checkout can be in each stage while all is well, in seconds without the time to pay."""
    allowed = {
        "reserving": limits.reserve_s,
        "awaiting_phone": limits.phone_s,
        "awaiting_payment": limits.payment_grace_s,
        "verifying": limits.payment_grace_s,
        "on_hold": limits.review_s,
        "processing": limits.process_s,
    }
    return {stage: seconds + SLACK_S for stage, seconds in allowed.items()}
