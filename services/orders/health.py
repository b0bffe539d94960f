"""What orders says about its own work: every stage has a limit, and nothing may be past it for long."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from services.chassis.business import DAY, MOST, Numbers, newest_since
from services.chassis.db import Tx
from services.orders.reconcilers import Limits
from services.orders.store import health

SLACK_S: Final = 30.0
"""Beyond its limit, a checkout has so long to be healed before it counts as stuck."""


def numbers_of(limits: Limits) -> Numbers:
    """The numbers, with what is stuck by these limits."""

    async def numbers(tx: Tx, now: datetime) -> dict[str, Any]:
        since, most_s = newest_since(now - DAY), longest(limits)
        return {
            "counts": {
                "under_way": await health.under_way(tx, list(most_s), MOST),
                "checkouts_last_day": await health.newest_checkouts(tx, since, MOST),
                "orders_last_day": await health.newest_orders(tx, since, MOST),
            },
            "stuck": await health.stuck_checkouts(tx, most_s, MOST),
            "orders_without_items": await health.orders_without_items(tx, since, MOST),
        }

    return numbers


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
