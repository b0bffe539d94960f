"""One parked record through the handler it failed in: to retry it, and to see what a retry would do."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from uuid import UUID

import asyncpg

from services.chassis import inbox
from services.chassis.consumer import Subscription
from services.chassis.db import Tx
from services.chassis.decisions import Never, NotYet, Refused
from services.chassis.ids import millis_of
from services.chassis.processing import spans_for
from services.chassis.records import Foreign, Heard, Malformed, Record, read

Row: TypeAlias = asyncpg.Record
"""Of `inbox_parked`, `payload` being the edited bytes where there are some."""


class NotYetError(Exception):
    """The handler still misses something; whatever it wrote must be undone."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a record came to: `replayed` is done for good, `dead` waits for a person."""

    state: Literal["replayed", "dead"]
    outcome: str
    event_id: UUID | None = None
    reason: str = ""
    error: str = ""


async def take_effect(
    tx: Tx, number: int, subscription: Subscription[Any], row: Row, *, traced: bool = True
) -> Made:
    """Hand the record to the handler, as a batch of one. Raises NotYetError, and what the handler raises.

    Not `traced`, nothing of it is added to the trace it came from.
    """
    claimed = row["event_id"] is not None
    # A record that was heard in time stays readable, however long it has waited since.
    now_ms = millis_of(row["event_id"]) if claimed else int((await tx.now()).timestamp() * 1000)
    found = read(_record(row, traced=traced), subscription.event, now_ms)
    if isinstance(found, Malformed):
        return Made("dead", "malformed", row["event_id"], found.reason, found.detail)
    if isinstance(found, Foreign):
        return Made("replayed", "foreign", row["event_id"])
    # An unreadable record could not be claimed when it came: its id may have been heard since.
    if not claimed and not (await inbox.claim(tx, number, [found])).fresh:
        return Made("replayed", "duplicate", found.event_id)
    return await _hand_over(tx, subscription, found)


async def _hand_over(tx: Tx, subscription: Subscription[Any], heard: Heard) -> Made:
    with spans_for(heard.record.topic, [heard]):
        verdicts = await subscription.handler(tx, [heard.event])
    (outcome,) = verdicts.outcomes
    match outcome:
        case NotYet():
            raise NotYetError(outcome.reason)
        case Never():
            return Made("dead", "never", heard.event_id, "NEVER", outcome.reason)
        case Refused():
            return Made("replayed", f"refused {outcome.code}", heard.event_id)
        case _:
            return Made("replayed", type(outcome).__name__.lower(), heard.event_id)


def reason_of(error: Exception) -> str:
    """The class of a failure, as parked records carry it."""
    return "NOT_YET" if isinstance(error, NotYetError) else type(error).__name__


def _record(row: Row, *, traced: bool) -> Record:
    headers = {name: value for name, value in row["headers"].items() if traced or name != "traceparent"}
    return Record(row["topic"], row["part"], row["kafka_offset"], row["key"], row["payload"], headers)
