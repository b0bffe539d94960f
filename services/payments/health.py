"""What payments says about its own work: money without an order, windows and attempts left alone, refunds."""

from datetime import datetime, timedelta
from typing import Any, Final

from prometheus_client import Gauge

from services.chassis.business import DAY, MOST, Numbers, newest_since
from services.chassis.db import Tx
from services.chassis.gauges import Measure
from services.chassis.reconciler import STUCK
from services.payments.settings import PaymentsSettings
from services.payments.store import health

SLACK_S: Final = 30.0
"""Beyond its time, a thing has so long to be healed before it counts as stuck."""
UNANSWERED_AGE: Final = Gauge(
    "kb_payments_unanswered_oldest_age_seconds", "How long ago the oldest unanswered payment was verified."
)


def numbers_of(settings: PaymentsSettings) -> Numbers:
    """The numbers, with what is stuck by these settings."""

    async def numbers(tx: Tx, now: datetime) -> dict[str, Any]:
        since = newest_since(now - DAY)
        return {
            "counts": {
                "intents_last_day": await health.newest_intents(tx, since, MOST),
                "open_windows": await health.open_windows(tx, MOST),
            },
            "payment_to_order": await health.payment_to_order(
                tx, since, MOST, late_since=now - timedelta(seconds=settings.alarm_unanswered_s)
            ),
            "stuck": await stuck(tx, now, settings),
        }

    return numbers


def measuring(settings: PaymentsSettings) -> Measure:
    """Money without an order, and windows left open, as gauges; the rest of what is stuck its duties say."""

    async def measure(tx: Tx) -> None:
        before = await tx.now() - timedelta(seconds=SLACK_S)
        UNANSWERED_AGE.set(await health.oldest_unanswered(tx))
        STUCK.labels("window").set(await health.overdue_windows(tx, before, settings.patience_s, MOST))

    return measure


async def stuck(tx: Tx, now: datetime, settings: PaymentsSettings) -> dict[str, int]:
    """What should have moved by now, by kind."""

    def ago(seconds: float) -> datetime:
        return now - timedelta(seconds=seconds)

    return {
        "unanswered": await health.unanswered(tx, ago(settings.alarm_unanswered_s), MOST),
        "windows": await health.overdue_windows(tx, ago(SLACK_S), settings.patience_s, MOST),
        "attempts": (await health.overdue_attempts(tx, ago(settings.alarm_unchecked_s), MOST))[0],
        "refunds": (await health.waiting_refunds(tx, ago(settings.alarm_refund_s), MOST))[0],
        "cases": (await health.open_cases(tx, ago(settings.alarm_case_s), MOST))[0],
    }
