"""When an attempt is asked about next: soon after a return, ever more rarely, never after its horizon."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.payments.domain.intent import UNDECIDED, Attempt, AttemptStatus

SETTLED = frozenset({AttemptStatus.CONFIRMED, AttemptStatus.REVERSED, AttemptStatus.CLOSED})


@dataclass(frozen=True, slots=True)
class Plan:
    """All times in seconds; the defaults are what the gateways' pages suggest, settings shorten them."""

    after_open: tuple[float, ...] = (60, 120, 300, 600, 1200)
    after_return: tuple[float, ...] = (3, 10, 30)
    after_expiry: tuple[float, ...] = (120, 900, 3600, 21_600, 86_400, 259_200)
    undecided_every: float = 60
    undecided_for: float = 1800
    unknown_first: float = 5
    unknown_most: float = 300
    not_seen_grace: float = 900
    return_gap: float = 2
    """Returns of one attempt that are nearer than this together cause one question."""
    jitter: float = 0.2
    """At most this share of a wait is added to it, so that what was opened together is not asked together."""


DEFAULT = Plan()


def next_check(
    attempt: Attempt, plan: Plan, now: datetime, *, close_at: datetime | None, luck: float
) -> datetime | None:
    """The time of the next question, None when there is none; `luck` in [0, 1) decides the jitter.

    `close_at` is when an open window wants its last answers; no wait reaches over it.
    """
    if attempt.status in SETTLED:
        return None
    due = _planned(attempt, plan, now)
    if attempt.unknowns:
        due = min(due, now + _backed_off(attempt.unknowns, plan))
    due += (due - now) * plan.jitter * luck
    if close_at is not None and now < close_at < due:
        return close_at
    return due


def _planned(attempt: Attempt, plan: Plan, now: datetime) -> datetime:
    if attempt.status in UNDECIDED and (now - attempt.opened_at).total_seconds() < plan.undecided_for:
        return now + timedelta(seconds=plan.undecided_every)
    return min((time for time in _times(attempt, plan) if time > now), default=attempt.closes_at)


def _times(attempt: Attempt, plan: Plan) -> list[datetime]:
    def after(start: datetime, waits: tuple[float, ...]) -> list[datetime]:
        return [start + timedelta(seconds=wait) for wait in waits]

    times = after(attempt.opened_at, plan.after_open) + after(attempt.expires_at, plan.after_expiry)
    return times if attempt.nudged_at is None else times + after(attempt.nudged_at, plan.after_return)


def _backed_off(unknowns: int, plan: Plan) -> timedelta:
    return timedelta(seconds=min(plan.unknown_most, plan.unknown_first * 2 ** min(unknowns - 1, 16)))
