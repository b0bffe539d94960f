"""One batch of one topic: deduplicated and handled in one transaction; a failure is cut out by key."""

import asyncio
import math
import random
import time
from collections import Counter as Counted
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import Counter, Histogram

from contracts.event import Event
from services.chassis import inbox, parking
from services.chassis.consumer import Subscription
from services.chassis.db import Database, Tx
from services.chassis.decisions import Changed, Never, NotYet, Refused, Unchanged, Verdicts
from services.chassis.errors import is_out_of_time, is_transient
from services.chassis.processing import spans_for
from services.chassis.records import Heard, Malformed

LOG = structlog.get_logger("consumer")
PATIENCE_S = 60.0
CUTTING_S = 45.0
"""How long a batch is then cut whose statements are cancelled; later it is read again, what is done stays.

Enough for three cuts that each take a statement's whole time.
"""
DURATION = Histogram(
    "messaging_process_duration_seconds",
    "From taking a batch to its database commit.",
    ["topic"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
RECORDS = Counter("kb_consumer_records_total", "Records by what became of them.", ["topic", "outcome"])
FAILED = "failed"
MALFORMED = "malformed"
OUTCOMES = ("changed", "unchanged", "refused", "never", "duplicate", FAILED, MALFORMED)


@dataclass(frozen=True, slots=True)
class Hearing:
    """Where a batch is heard: the database, the consumer number of the topic, and who hears it.

    `alive` is called after every try that failed, and between the parts of a batch that is cut: as long as it
    is, nobody is stuck.
    """

    db: Database
    number: int
    subscription: Subscription[Any]
    alive: Callable[[], None] = lambda: None


class _WaitingKeys(Exception):  # noqa: N818 - control flow: the batch is run again without these
    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


@dataclass(slots=True)
class _Tally:
    """What one transaction made of its records; counted once it is committed."""

    outcomes: Counted[str] = field(default_factory=Counted)
    parked: Sequence[parking.Labels] = ()

    def count(self, topic: str) -> None:
        for outcome, number in (self.outcomes + _failures(self.parked)).items():
            RECORDS.labels(topic, outcome).inc(number)
        parking.count(self.parked)


def expect(topics: Iterable[str]) -> None:
    """These topics are going to be heard: a number that began with its first failure would hide that one."""
    for topic in topics:
        for outcome in OUTCOMES:
            RECORDS.labels(topic, outcome)


def _failures(parked: Sequence[parking.Labels]) -> Counted[str]:
    """What set these records aside, as outcomes: `never` is a verdict, which is counted; a wait is none."""
    failed: Counted[str] = Counted()
    for _, state, reason in parked:
        if state == "parked" and reason != parking.BEHIND:
            failed[FAILED] += 1
        elif state == "dead" and reason != parking.NEVER:
            failed[MALFORMED] += 1
    return failed


async def hear(hearing: Hearing, heard: Sequence[Heard], malformed: Sequence[Malformed]) -> None:
    """Give these records their effect, once, or park them. Raises only when the database stays away."""
    topic = hearing.subscription.event.TOPIC
    with DURATION.labels(topic).time():
        unreadable = [parking.malformed(one) for one in malformed]
        if unreadable:
            await _patiently(hearing, [], unreadable, _patience_ends())
        if heard:
            await _cut(hearing, heard, _patience_ends())


async def _cut(hearing: Hearing, heard: Sequence[Heard], until: float) -> None:
    """All in one transaction; when that fails, parts of its keys, until the culprit stands alone."""
    try:
        await _patiently(hearing, heard, [], until)
    except _WaitingKeys as waiting:
        await _set_aside(hearing, heard, waiting.reasons, until)
    except Exception as error:
        keys = list(dict.fromkeys(one.key for one in heard))
        if is_transient(error) and not _is_worth_cutting(error, len(keys), until):
            raise
        LOG.warning(
            "batch failed", topic=hearing.subscription.event.TOPIC, keys=len(keys), error=repr(error)[:500]
        )
        if len(keys) == 1:
            await _one_by_one(hearing, heard, error, until)
            return
        # What takes seconds to fail is found in few steps; what fails at once, with few transactions.
        width = math.ceil(len(keys) / (8 if is_out_of_time(error) else 2))
        for start in range(0, len(keys), width):
            part = set(keys[start : start + width])
            hearing.alive()
            await _cut(hearing, [one for one in heard if one.key in part], until)


def _is_worth_cutting(error: Exception, keys: int, until: float) -> bool:
    """A statement that is cancelled after all patience may have one key to blame, or too many at once."""
    return is_out_of_time(error) and (keys == 1 or time.monotonic() < until + CUTTING_S)


async def _one_by_one(hearing: Hearing, heard: Sequence[Heard], error: Exception, until: float) -> None:
    """The records of one key: those before the culprit take effect, it and the rest wait in order."""
    if len(heard) == 1:
        failed = [parking.waiting(heard[0], type(error).__name__, repr(error))]
        LOG.error("parked", topic=heard[0].record.topic, key=heard[0].key, error=repr(error)[:500])
        await _patiently(hearing, [], failed, _patience_ends(), claiming=heard)
        return
    for one in heard:
        # The first failure blocks the key; the others then find it blocked and wait behind.
        await _cut(hearing, [one], until)


async def _set_aside(hearing: Hearing, heard: Sequence[Heard], reasons: dict[str, str], until: float) -> None:
    waiting = [one for one in heard if one.key in reasons]
    parked = [parking.waiting(one, "NOT_YET", reasons[one.key]) for one in waiting]
    await _patiently(hearing, [], parked, _patience_ends(), claiming=waiting)
    if others := [one for one in heard if one.key not in reasons]:
        await _cut(hearing, others, until)


def _patience_ends() -> float:
    """On the monotonic clock, in seconds: afterwards everything is tried once only."""
    return time.monotonic() + PATIENCE_S


async def _patiently(
    hearing: Hearing,
    heard: Sequence[Heard],
    parked: Sequence[parking.Parked],
    until: float,
    *,
    claiming: Sequence[Heard] = (),
) -> None:
    """One transaction, run again with back-off while the database is away or says "again"; bounded."""
    pause = 0.02
    while True:
        try:
            async with hearing.db.transaction() as tx:
                tally = await _transact(tx, hearing, heard, parked, claiming)
        except Exception as error:
            hearing.alive()
            if not is_transient(error) or time.monotonic() > until:
                raise
            LOG.warning("again", topic=hearing.subscription.event.TOPIC, error=repr(error)[:300])
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
            pause = min(5.0, pause * 2)
        else:
            tally.count(hearing.subscription.event.TOPIC)
            return


async def _transact(
    tx: Tx,
    hearing: Hearing,
    heard: Sequence[Heard],
    parked: Sequence[parking.Parked],
    claiming: Sequence[Heard],
) -> _Tally:
    tally = _Tally()
    if claiming:
        claimed = await inbox.claim(tx, hearing.number, claiming)
        fresh = {id(one.record) for one in claimed.fresh}
        parked = [one for one in parked if id(one.record) in fresh]
    also: list[parking.Parked] = []
    if heard:
        also = await _take_effect(tx, hearing, heard, tally)
    tally.parked = await parking.park(tx, hearing.number, [*parked, *also])
    return tally


async def _take_effect(
    tx: Tx, hearing: Hearing, heard: Sequence[Heard], tally: _Tally
) -> list[parking.Parked]:
    claimed = await inbox.claim(tx, hearing.number, heard)
    fresh = claimed.fresh
    blocked = await inbox.blocked_keys(tx, hearing.number, claimed)
    free = [one for one in fresh if one.key not in blocked]
    parked = [
        parking.waiting(one, parking.BEHIND, "waits behind a parked record")
        for one in fresh
        if one.key in blocked
    ]
    topic = hearing.subscription.event.TOPIC
    tally.outcomes["duplicate"] += len(heard) - len(fresh)
    if free:
        with spans_for(topic, free):
            events: list[Event] = [one.event for one in free]
            verdicts = await hearing.subscription.handler(tx, events)
        tally.outcomes.update(type(one).__name__.lower() for one in verdicts.outcomes)
        parked += _judge(topic, free, verdicts)
    return parked


def _judge(topic: str, heard: Sequence[Heard], verdicts: Verdicts[Any]) -> list[parking.Parked]:
    """What the verdicts ask for beyond what the handler has written."""
    parked: list[parking.Parked] = []
    not_yet: dict[str, str] = {}
    for one, outcome in zip(heard, verdicts.outcomes, strict=True):
        if isinstance(outcome, Changed | Unchanged):
            continue
        if isinstance(outcome, NotYet):
            not_yet.setdefault(one.key, outcome.reason)
        elif isinstance(outcome, Never):
            LOG.error(
                "cannot happen", topic=topic, key=one.key, event_id=str(one.event_id), reason=outcome.reason
            )
            parked.append(parking.dead(one, outcome.reason))
        elif isinstance(outcome, Refused):
            LOG.info("refused", topic=topic, key=one.key, code=outcome.code)
    if not_yet:
        raise _WaitingKeys(not_yet)
    return parked
