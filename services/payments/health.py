"""What payments says about its own work: money without an order, windows and attempts left alone, refunds."""

from datetime import datetime, timedelta
from typing import Any, Final

from services.chassis.business import DAY, MOST, Numbers, newest_since
from services.chassis.db import Tx
from services.payments.settings import PaymentsSettings
from services.payments.store import health

SLACK_S: Final = 30.0
"""Beyond its time, a thing has so long to be healed before it counts as stuck."""


def numbers_of(settings: PaymentsSettings) -> Numbers:
    """The numbers, with what is stuck by these settings."""

    async def numbers(tx: Tx, now: datetime) -> dict[str, Any]:
        since = newest_since(now - DAY)
        return {
            "counts": {
                "intents_last_day": await health.newest_intents(tx, since, MOST),
                "open_windows": await health.open_windows(tx, MOST),
            },
            "payment_to_order": await health.payment_to_order(tx, since, MOST),
            "stuck": await stuck(tx, now, settings),
        }

    return numbers


async def stuck(tx: Tx, now: datetime, settings: PaymentsSettings) -> dict[str, int]:
    """What should have moved by now, by kind."""

    def ago(seconds: float) -> datetime:
        return now - timedelta(seconds=seconds)

    return {
        "unanswered": await health.unanswered(tx, ago(settings.alarm_unanswered_s), MOST),
        "windows": await health.overdue_windows(tx, ago(settings.patience_s + SLACK_S), MOST),
        "attempts": (await health.overdue_attempts(tx, ago(settings.alarm_unchecked_s), MOST))[0],
        "refunds": (await health.waiting_refunds(tx, ago(settings.alarm_refund_s), MOST))[0],
        "cases": (await health.open_cases(tx, ago(settings.alarm_case_s), MOST))[0],
    }
