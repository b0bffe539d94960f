"""Door 3, the clock: windows that should have closed, money nobody answered, attempts nobody asks about."""

from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Gauge

from services.chassis.db import Tx
from services.chassis.reconciler import STUCK, every
from services.payments import actions, gateways
from services.payments.store import attempts, health, waiting

MOST: Final = 500
LOG = structlog.get_logger("payments")
UNANSWERED = Gauge(
    "kb_payments_unanswered", "Verified payments without an answer of orders, past their time."
)


@every(seconds=10)
async def close_windows(tx: Tx, now: datetime) -> int:
    """A window whose last lookups found nothing ends; one that nobody can decide becomes a case."""
    patience_s = gateways.in_use().settings.patience_s
    over = await waiting.read_closable(tx, now, patience_s=patience_s, limit=MOST)
    return len((await actions.close_windows(tx, over, patience_s)).changed)


@every(seconds=10, alarm=UNANSWERED)
async def alarm_unanswered(tx: Tx, now: datetime) -> int:
    """Money without an order is said aloud after a minute; acting on it is for orders, or a person."""
    await waiting.note_left(tx, MOST)
    late = now - timedelta(seconds=gateways.in_use().settings.alarm_unanswered_s)
    left = await waiting.read_unanswered(tx, late, MOST)
    if left:
        LOG.error("paid without an answer", payments=len(left), oldest=str(left[0]))
    return len(left)


@every(seconds=20)
async def open_unanswered_cases(tx: Tx, now: datetime) -> int:
    """A payment that was told long ago and is still unanswered becomes a case; its answer will close it."""
    late = now - timedelta(seconds=gateways.in_use().settings.unanswered_s)
    left = await waiting.read_left_unanswered(tx, late, MOST)
    return len((await actions.report_unanswered(tx, left)).changed)


@every(seconds=20)
async def wake_forgotten_attempts(tx: Tx, now: datetime) -> int:  # noqa: ARG001 - a duty is given the time
    """An attempt that could bring money is always asked about again; one that would not be is made due."""
    woken = await attempts.wake_forgotten(tx, MOST)
    if woken:
        LOG.error("attempts nobody would have asked about", attempts=len(woken))
    return len(woken)


@every(seconds=60, alarm=STUCK.labels("attempt"))
async def alarm_unchecked_attempts(tx: Tx, now: datetime) -> int:
    """An attempt that is due for minutes is nobody's: the poller is down, or the gateway does not answer."""
    late = now - timedelta(seconds=gateways.in_use().settings.alarm_unchecked_s)
    return _aloud("attempt", *await health.overdue_attempts(tx, late, MOST))


@every(seconds=60, alarm=STUCK.labels("refund"))
async def alarm_waiting_refunds(tx: Tx, now: datetime) -> int:
    """A refund that no person has sent within a day; the gateway has no call for it."""
    late = now - timedelta(seconds=gateways.in_use().settings.alarm_refund_s)
    return _aloud("refund", *await health.waiting_refunds(tx, late, MOST))


@every(seconds=60, alarm=STUCK.labels("case"))
async def alarm_open_cases(tx: Tx, now: datetime) -> int:
    """A case that no person has closed within a day: somebody's money or parcel waits for it."""
    late = now - timedelta(seconds=gateways.in_use().settings.alarm_case_s)
    return _aloud("case", *await health.open_cases(tx, late, MOST))


def _aloud(kind: str, count: int, oldest: datetime | None) -> int:
    if oldest is not None:
        LOG.error("waits for somebody", kind=kind, count=count, oldest=oldest.isoformat())
    return count
