"""What is judged: a snapshot of each database, all records, what was read of them, the gateway's truth."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx2
import orjson

from infra.audit.broker import Broker, Offsets
from infra.audit.records import Log, flow_of

OUTBOX_KEPT: Final = timedelta(days=3)
"""Told rows stay at least so long; about older records the outbox says nothing."""
TOPICS_KEPT: Final = timedelta(days=30)
PAGE: Final = 5000
STATEMENT_TIMEOUT_MS: Final = 120_000
TRUTH_TIMEOUT_S: Final = 30.0

# A flow is named by its first key; only an event of another key says so. What somebody put into the place of
# a body that the broker had refused is what was told.
OUTBOX: Final = """
    select told.event_id, told.part, told.topic, told.key, told.key_seq,
           'np.kbstylish.' || told.topic || '.v' || told.version as type,
           substring(sha256(coalesce(mended.edited_payload, told.payload)) for 16) as digest,
           coalesce(told.correlation_id::text, told.key) as correlation, told.causation_id, told.created_at
    from outbox as told
    left join outbox_parked as mended on mended.id = told.id and mended.edited_payload is not null
"""
INBOX: Final = "select consumer, event_id from inbox"


@dataclass(frozen=True, slots=True)
class Told:
    """One row of an outbox."""

    service: str
    id: UUID
    part: int
    topic: str
    key: str
    sequence: int
    type: str
    digest: bytes
    correlation: UUID | None
    causation: UUID | None
    at: datetime

    @property
    def content(self) -> tuple[object, ...]:
        """What its record must share with it."""
        place = (self.topic, self.part, self.key, self.sequence)
        return (*place, self.type, self.correlation, self.causation, self.digest)


@dataclass(frozen=True, slots=True)
class Payment:
    """One row of the gateway's own record; money moved exactly when `paid` is true."""

    reference: str
    txn_id: str
    amount_paisa: int
    refunded_paisa: int
    paid: bool


@dataclass(slots=True)
class World:
    """Everything a check may look at.

    Offsets were read first, then the ends of the topics, then the snapshots were taken: so whatever a group
    has passed and whatever is in a topic is also in the databases.
    """

    databases: Mapping[str, asyncpg.Connection]
    log: Log = field(default_factory=Log)
    committed: Mapping[str, Offsets] = field(default_factory=dict)
    truth: list[Payment] | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    told: dict[UUID, Told] = field(default_factory=dict)
    told_twice: list[Told] = field(default_factory=list)
    inbox: dict[tuple[str, int], set[UUID]] = field(default_factory=dict)

    async def rows(self, service: str, query: str, *arguments: object) -> list[Any]:
        return list(await self.databases[service].fetch(query, *arguments))

    async def stream(self, service: str, query: str) -> AsyncIterator[Any]:
        """The rows of a long answer, a page at a time."""
        async for row in self.databases[service].cursor(query, prefetch=PAGE):
            yield row

    async def load(self) -> None:
        """Outboxes and inboxes, which several promises ask about."""
        self.now = await next(iter(self.databases.values())).fetchval("select now()")
        for service in self.databases:
            await self._load_outbox(service)
            async for consumer, event_id in self.stream(service, INBOX):
                self.inbox.setdefault((service, consumer), set()).add(event_id)

    async def _load_outbox(self, service: str) -> None:
        async for row in self.stream(service, OUTBOX):
            told = _told(service, row)
            if self.told.setdefault(told.id, told) is not told:
                self.told_twice.append(told)

    def is_older_than(self, kept: timedelta, at_ms: int) -> bool:
        return at_ms < (self.now - kept).timestamp() * 1000


def _told(service: str, row: Any) -> Told:  # noqa: ANN401 - a database row
    event_id, part, topic, key, sequence, type_, digest, flow, cause, at = row
    return Told(service, event_id, part, topic, key, sequence, type_, digest, flow_of(flow), cause, at)


@asynccontextmanager
async def connections(databases: Mapping[str, str]) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """One connection to each database, on which nothing can be written."""
    settings = {
        "application_name": "kb-audit",
        "default_transaction_read_only": "on",
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "jit": "off",
    }
    async with AsyncExitStack() as after:
        opened: dict[str, asyncpg.Connection] = {}
        for service, dsn in databases.items():
            opened[service] = await asyncpg.connect(dsn, timeout=10, server_settings=settings)
            after.push_async_callback(opened[service].close)
        yield opened


@asynccontextmanager
async def world_of(
    databases: Mapping[str, asyncpg.Connection], broker: Broker, truth_url: str | None
) -> AsyncIterator[World]:
    """The world as it is now; the order of the steps is what makes it consistent (see `World`)."""
    committed = {service: await broker.committed(service) for service in databases}
    ends = await broker.ends()
    truth = await read_truth(truth_url) if truth_url else None
    async with AsyncExitStack() as after:
        for connection in databases.values():
            snapshot = connection.transaction(isolation="repeatable_read", readonly=True)
            await after.enter_async_context(snapshot)
            await connection.fetchval("select 1")  # the snapshot is taken by the first statement
        world = World(databases, await broker.read_all(ends), committed, truth)
        await world.load()
        yield world


async def read_truth(url: str) -> list[Payment]:
    """The gateway simulator's own record of money, row by row."""
    headers = {"accept": "application/x-ndjson"}
    async with (
        httpx2.AsyncClient(timeout=TRUTH_TIMEOUT_S, trust_env=False) as client,
        client.stream("GET", f"{url.rstrip('/')}/_sim/truth", headers=headers) as answer,
    ):
        answer.raise_for_status()
        return [_payment(orjson.loads(line)) async for line in answer.aiter_lines()]


def _payment(row: Mapping[str, Any]) -> Payment:
    return Payment(
        reference=row["reference"],
        txn_id=row["ref_id"] or "",
        amount_paisa=row["amount_paisa"],
        refunded_paisa=row["refunded_paisa"],
        paid=row["paid_at"] is not None,
    )
