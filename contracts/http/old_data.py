"""What operators ask of old data: look it through, repair it, pause the roll-up, tell what was missed."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.http import Answer, Ask, Id
from contracts.orders import OrderStatus

MOST_AT_ONCE = 500
LONGEST_PAUSE_MIN = 24 * 60
Why = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
AtOnce = Annotated[int, Field(ge=1, le=MOST_AT_ONCE)]


class LookThrough(Ask):
    """`POST /internal/operator/rollup/backfill`: the next orders after this id; a dry run changes nothing."""

    after: Id | None = None
    limit: AtOnce = MOST_AT_ONCE
    dry_run: bool = False
    reason: Why


class OutOfStep(Answer):
    """An order whose status is not what its items say."""

    order_id: UUID
    status: OrderStatus
    should_be: OrderStatus


class LookedThrough(Answer):
    """One page: how many orders, what was wrong, how many were repaired; `next` is null at the end."""

    examined: int
    out_of_step: list[OutOfStep]
    empty: list[UUID]
    repaired: int
    next: UUID | None


class EmptyOrder(Answer):
    order_id: UUID
    order_number: str
    status: OrderStatus
    created_at: datetime


class EmptyOrderPage(Answer):
    """`GET /internal/operator/reports/empty-orders`: those among `examined` orders."""

    data: list[EmptyOrder]
    examined: int
    next: UUID | None


class PauseRollup(Ask):
    """`POST /internal/operator/rollup/pause`: for so many minutes; it goes on by itself then."""

    minutes: Annotated[int, Field(ge=1, le=LONGEST_PAUSE_MIN)]
    reason: Why


class ResumeRollup(Ask):
    """`POST /internal/operator/rollup/resume`."""

    reason: Why


class Rollup(Answer):
    """`GET /internal/operator/rollup`: whether it works, and if not, until when, by whom and why."""

    state: Literal["running", "paused"]
    until: datetime | None = None
    since: datetime | None = None
    by: UUID | None = None
    reason: str | None = None


class TellAgain(Ask):
    """`POST /internal/operator/orders/tell-again`, and the same of intents: what was decided, once more."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_AT_ONCE)]
    reason: Why


class Told(Answer):
    """What became of each: told once more, or why not."""

    told: list[UUID]
    refused: dict[UUID, str]
