"""The poller: asks gateways about due attempts and settles what they answer as it comes."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog
from prometheus_client import Gauge

from services.chassis.app import Runtime
from services.chassis.db import Database
from services.chassis.errors import is_transient
from services.payments import actions, gateways
from services.payments.actions.settling import Seen, seen
from services.payments.gateways import Gateways
from services.payments.providers import Adapter, Answer
from services.payments.store import attempts
from services.payments.store.attempts import Question
from services.payments.verdicts import Unknown

LOG = structlog.get_logger("poller")
LEASE_S: Final = 30.0
LAST_ANSWERS_S: Final = 5.0
"""So long a process that stops waits for what it has asked; the rest is asked again when its claim ends."""
MOST_AT_ONCE: Final = 200
SETTLE_TRIES: Final = 5
BREAKS_AFTER: Final = 5
LONGEST_PAUSE_S: Final = 30.0
BROKEN = Gauge(
    "kb_gateway_broken", "1 while a gateway does not answer and is asked only now and then.", ["provider"]
)


async def poll_attempts(runtime: Runtime) -> None:
    """Ask every gateway about what is due, until `stopping`."""
    in_use = gateways.in_use()
    lines = [Line(runtime, in_use, adapter) for adapter in in_use.adapters.values()]
    async with asyncio.TaskGroup() as group:
        group.create_task(wake_all(runtime, lines), name="wake")
        for line in lines:
            group.create_task(line.run(), name=f"poll {line.adapter.provider}")


async def wake_all(runtime: Runtime, lines: "Sequence[Line]") -> None:
    """Every line has a signal of its own: one that looks anew would clear it for one that has just looked."""
    while not runtime.stopping.is_set():
        await _either(runtime.wake, runtime.stopping)
        runtime.wake.clear()
        for line in lines:
            line.wake.set()


async def _either(*events: asyncio.Event, within_s: float | None = None) -> None:
    """Wait for one of them, at most so long."""
    waits = [asyncio.create_task(one.wait()) for one in events]
    try:
        await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


@dataclass(slots=True)
class Bucket:
    """So many calls a second; at most a second's worth, and at least one, can be saved up."""

    per_s: float
    tokens: float = 1.0
    filled_at: float = field(default_factory=time.monotonic)

    def take(self, wanted: int) -> int:
        """As many of these calls as may be made now."""
        now, most = time.monotonic(), max(1.0, self.per_s)
        self.tokens = min(most, self.tokens + (now - self.filled_at) * self.per_s)
        self.filled_at = now
        taken = min(wanted, int(self.tokens))
        self.tokens -= taken
        return taken

    def give_back(self, unused: int) -> None:
        self.tokens += unused

    def wait_s(self) -> float:
        """Until the next call may be made."""
        return max(0.0, (1 - self.tokens) / self.per_s)


@dataclass(slots=True)
class Breaker:
    """After several useless answers in a row the gateway is tried with single questions, ever more rarely."""

    provider: str
    failures: int = 0

    def heard(self, answer: Answer) -> None:
        useless = isinstance(answer.verdict, Unknown) and not answer.body
        self.failures = self.failures + 1 if useless else 0
        BROKEN.labels(self.provider).set(self.pause_s() > 0)

    def pause_s(self) -> float:
        """How long to wait before the one next question; 0 while the gateway answers."""
        beyond = self.failures - BREAKS_AFTER
        return 0.0 if beyond < 0 else min(LONGEST_PAUSE_S, 0.5 * 2 ** min(beyond, 10))


class Line:
    """One gateway: claims no more than it may ask at once, and settles all the answers that are there."""

    def __init__(self, runtime: Runtime, in_use: Gateways, adapter: Adapter) -> None:
        self.db: Database = runtime.db
        self.wake, self.stopping = asyncio.Event(), runtime.stopping
        self.adapter, self.plan, self.settings = adapter, in_use.plan, in_use.settings
        self.bucket = Bucket(self.settings.gateway_calls_per_s)
        self.breaker = Breaker(adapter.provider)
        self.calls: set[asyncio.Task[None]] = set()
        self.answers: list[Seen] = []
        self.answered = asyncio.Event()

    async def run(self) -> None:
        """Until `stopping`; then what was asked is still settled."""
        settling = asyncio.create_task(self._settle_as_they_come())
        try:
            while not self.stopping.is_set():
                await self._pause(await self._ask_what_is_due())
            if self.calls:
                await asyncio.wait(self.calls, timeout=LAST_ANSWERS_S)
        finally:
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
            await self._settle_all()

    async def _ask_what_is_due(self) -> float:
        """Start as many lookups as may run now; returns how long to wait before looking again."""
        self.wake.clear()
        room = self.settings.gateway_calls_at_once - len(self.calls)
        if self.breaker.pause_s():
            room = min(room, 1 - len(self.calls))
        allowed = self.bucket.take(max(0, min(room, MOST_AT_ONCE)))
        if not allowed:
            return max(0.005, self.bucket.wait_s()) if room > 0 else self.settings.poll_every_s
        async with self.db.transaction() as tx:
            due = await attempts.claim_due(tx, self.adapter.provider, limit=allowed, lease_s=LEASE_S)
        self.bucket.give_back(allowed - len(due))
        for question in due:
            call = asyncio.create_task(self._ask(question))
            self.calls.add(call)
            call.add_done_callback(self._call_ended)
        return self.breaker.pause_s() or (self.settings.poll_every_s if len(due) < allowed else 0.0)

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        self.calls.discard(call)
        if len(self.calls) >= self.settings.gateway_calls_at_once - 1:
            self.wake.set()  # it was full: there is room again

    async def _ask(self, question: Question) -> None:
        answer = await self.adapter.check(question.asked)
        self.breaker.heard(answer)
        self.answers.append(seen(question.subject_id, question.attempt_id, question.provider, answer))
        self.answered.set()

    async def _pause(self, seconds: float) -> None:
        if seconds == 0:
            return
        if self.breaker.pause_s():  # whoever wakes us cannot make a broken gateway answer
            await _either(self.stopping, within_s=seconds)
        else:
            await _either(self.wake, self.stopping, within_s=seconds)

    async def _settle_as_they_come(self) -> None:
        while True:
            await self.answered.wait()
            self.answered.clear()
            await self._settle_all()

    async def _settle_all(self) -> None:
        while self.answers:
            batch, self.answers = self.answers[:MOST_AT_ONCE], self.answers[MOST_AT_ONCE:]
            await settle_answers(self.db, batch, self.plan)


async def settle_answers(db: Database, batch: Sequence[Seen], plan: actions.Plan) -> None:
    """All in one transaction; if that fails each by itself, and what fails alone is asked about again."""
    try:
        await _settle(db, batch, plan)
    except Exception as error:
        LOG.exception("answers not settled", answers=len(batch), error=repr(error)[:300])
        if len(batch) > 1 and not is_transient(error):
            for one in batch:
                await settle_answers(db, [one], plan)


async def _settle(db: Database, batch: Sequence[Seen], plan: actions.Plan) -> None:
    for tried in range(SETTLE_TRIES):
        try:
            async with db.transaction() as tx:
                await actions.settle(tx, batch, plan)
        except (asyncpg.PostgresError, OSError, TimeoutError) as error:
            if not is_transient(error) or tried == SETTLE_TRIES - 1:
                raise
            await asyncio.sleep(0.05 * 2**tried)
        else:
            return
