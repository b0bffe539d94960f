"""Sending rows to Kafka: explicit partitions, our own batches, and a producer that is replaced when it fails.

An idempotent aiokafka producer that failed once keeps a gap in its sequence numbers and never recovers for
that partition, and it retries for ever while the broker is away. So a failed or late send ends the producer;
what was in flight may still arrive, as a copy of what the next producer sends.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer, errors
from aiokafka.errors import (
    BrokerResponseError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from contracts.event import type_of
from services.chassis.outbox_metrics import PRODUCER_REBUILD

LOG = structlog.get_logger("relay")
MAX_BATCH: Final = 1_048_576
FULL_BATCH: Final = 128 * 1024
"""A batch this large takes no further row: whoever reads it holds all of it in memory."""
REQUEST_S: Final = 10.0
STOP_S: Final = 1.0


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]
    """The broker has validated a record and will never take it."""

    errno = 87
    message = "INVALID_RECORD"
    description = "A record of the batch does not fit the rules of its topic."


# The client does not know this code: it would look like an unknown failure of the broker, which may heal.
errors.kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)
REFUSED: Final = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    PolicyViolationError,
    InvalidTimestampError,
    errors.for_code(InvalidRecordError.errno),
)

Row: TypeAlias = asyncpg.Record
Header: TypeAlias = tuple[str, bytes]
Sent: TypeAlias = tuple["asyncio.Future[object]", list[Row]]


class UnavailableError(Exception):
    """The rows could not be sent, through no fault of theirs: try again later. Some may have arrived."""


class UnclearError(UnavailableError):
    """The rows could not be sent, and nobody says why: it may pass, or be the fault of one row for ever.

    `rows` is where that one would be, in id order.
    """

    def __init__(self, rows: Sequence[Row], reason: str) -> None:
        super().__init__(reason)
        self.rows = rows


class RefusedError(Exception):
    """The broker will never take one of these rows; `rows` is where it was, in id order."""

    def __init__(self, rows: Sequence[Row], reason: str) -> None:
        super().__init__(reason)
        self.rows = rows


class Sink(Protocol):
    """Where published rows go."""

    async def publish(self, part: int, rows: Sequence[Row], within_s: float) -> None:
        """Return once all rows are stored, in order per topic.

        Raises UnavailableError, of which UnclearError is one, or RefusedError.
        """

    async def close(self) -> None:
        """Let go of what is in flight; bounded."""


class KafkaSink:
    """Rows as records of one Kafka cluster."""

    def __init__(self, bootstrap: str, *, service: str, topic_prefix: str, instance: str) -> None:
        self._bootstrap = bootstrap
        self._client_id = f"{service}-relay-{instance}"
        self._prefix = topic_prefix
        self._source: Header = ("ce_source", f"/services/{service}".encode())
        self._producer: AIOKafkaProducer | None = None
        self._building: asyncio.Task[AIOKafkaProducer] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def publish(self, part: int, rows: Sequence[Row], within_s: float) -> None:
        """Topics side by side; within a topic batch after batch, each acknowledged before the next."""
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(within_s):
                producer = await self._current()
                lanes = self._lanes(rows)
                while lanes:
                    await self._send_first_batches(producer, lanes, part)
                    lanes = {topic: lane for topic, lane in lanes.items() if lane}
        except RefusedError:
            self._discard(producer, "refused")
            raise
        except UnclearError:
            self._discard(producer, "unclear")
            raise
        except (KafkaError, OSError, TimeoutError) as error:
            self._discard(producer, type(error).__name__)
            raise UnavailableError(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            # A row that cannot even be written as a record, or a mistake of ours that says nothing of rows.
            self._discard(producer, type(error).__name__)
            raise UnclearError(rows, f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        if self._building is not None:
            self._building.cancel()
            await asyncio.wait([self._building], timeout=2 * STOP_S)
        self._discard(self._producer, None)
        if self._closing:
            await asyncio.wait(self._closing, timeout=2 * STOP_S)

    def _lanes(self, rows: Sequence[Row]) -> dict[str, deque[Row]]:
        lanes: dict[str, deque[Row]] = {}
        for row in rows:
            topic = row["topic"]
            if topic not in lanes:
                lanes[topic] = deque()
            lanes[topic].append(row)
        return lanes

    async def _send_first_batches(
        self, producer: AIOKafkaProducer, lanes: dict[str, deque[Row]], part: int
    ) -> None:
        """One batch of each topic, all in flight together."""
        sent: list[Sent] = []
        try:
            for topic, lane in lanes.items():
                batch, rows = self._fill(producer.create_batch(), lane)
                future = await producer.send_batch(batch, self._prefix + topic, partition=part)
                sent.append((future, rows))
            await asyncio.wait([future for future, _ in sent])
        finally:
            for future, _ in sent:
                future.add_done_callback(_look_at)  # also those that we no longer wait for
        _raise_failure(sent)

    def _fill(self, batch: BatchBuilder, lane: deque[Row]) -> tuple[BatchBuilder, list[Row]]:
        """Take rows from the lane until the batch is full; a row that does not even fit alone is refused."""
        rows: list[Row] = []
        while lane and batch.size() < FULL_BATCH and append(batch, lane[0], self._source):
            rows.append(lane.popleft())
        if not rows:
            raise RefusedError([lane[0]], f"larger than a batch of {MAX_BATCH} bytes")
        batch.close()
        return batch, rows

    async def _current(self) -> AIOKafkaProducer:
        """The living producer, built once for everybody who waits for it."""
        if self._producer is None:
            if self._building is None or self._building.done():
                self._building = asyncio.create_task(self._build())
                self._building.add_done_callback(_look_at)
            return await asyncio.shield(self._building)
        return self._producer

    async def _build(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=MAX_BATCH,
            max_request_size=4 * MAX_BATCH,
            request_timeout_ms=int(REQUEST_S * 1000),
            retry_backoff_ms=100,
        )
        try:
            async with asyncio.timeout(REQUEST_S):
                await producer.start()
        except BaseException:
            await _end(producer)
            raise
        self._producer = producer
        return producer

    def _discard(self, producer: AIOKafkaProducer | None, reason: str | None) -> None:
        """Nobody uses this producer from now on; it is stopped behind everybody's back."""
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        if reason is not None:
            PRODUCER_REBUILD.labels(reason).inc()
            LOG.warning("replacing the producer", reason=reason)
        closing = asyncio.create_task(_end(producer))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _look_at(future: "asyncio.Future[Any]") -> None:
    """A failure nobody waits for any more is no news: the producer was discarded for it."""
    if not future.cancelled():
        future.exception()


def _raise_failure(sent: Sequence[Sent]) -> None:
    """A refusal goes first: it is the one that does not heal by itself."""
    failures = [(future.exception(), rows) for future, rows in sent]
    for error, rows in failures:
        if isinstance(error, REFUSED):
            raise RefusedError(rows, f"{type(error).__name__}: {error}") from error
    for error, rows in failures:
        if type(error) is errors.UnknownError:
            raise UnclearError(rows, f"{type(error).__name__}: {error}") from error
    for error, _ in failures:
        if error is not None:
            raise error


async def _end(producer: AIOKafkaProducer) -> None:
    """Stop it; after a second by force, because it would flush for as long as the broker is away."""
    try:
        async with asyncio.timeout(STOP_S):
            await producer.stop()
    except TimeoutError:
        # Its own parts, because it offers no way to give up: fail what waits, then end the task that retries.
        producer._message_accumulator.fail_all(KafkaError("given up"))  # noqa: SLF001
        await producer.client.close()
        if (task := producer._sender.sender_task) is not None:  # noqa: SLF001
            task.cancel()
            await asyncio.wait([task], timeout=STOP_S)


def append(batch: BatchBuilder, row: Row, source: Header) -> bool:
    """The row as a CloudEvent in binary mode; False when the batch is full.

    Everything comes from the row, so a row sent again is the same bytes.
    """
    millis, _ = _written(row["created_at"])
    told = batch.append(
        timestamp=millis,
        key=row["key"].encode(),
        value=row["payload"],
        headers=headers_of(row, source),
    )
    return told is not None


@lru_cache(maxsize=1024)
def _written(created_at: datetime) -> tuple[int, bytes]:
    """Milliseconds and RFC 3339; remembered, because all that one statement tells shares its time."""
    return int(created_at.timestamp() * 1000), created_at.isoformat()[:-6].encode() + b"Z"


JSON: Final[Header] = ("content-type", b"application/json")
SPECVERSION: Final[Header] = ("ce_specversion", b"1.0")


def headers_of(row: Row, source: Header) -> list[Header]:
    """The CloudEvents attributes, in one fixed order."""
    key = row["key"].encode()
    _, written = _written(row["created_at"])
    correlation, causation, trace = row["correlation_id"], row["causation_id"], row["traceparent"]
    headers = [
        JSON,
        SPECVERSION,
        ("ce_id", str(row["event_id"]).encode()),
        source,
        ("ce_type", type_of(row["topic"], row["version"]).encode()),
        ("ce_subject", key),
        ("ce_subjectkind", row["subject_kind"].encode()),
        ("ce_time", written),
        ("ce_sequence", b"%020d" % row["key_seq"]),
        ("ce_correlationid", str(correlation).encode() if correlation else key),
    ]
    if causation:
        headers.append(("ce_causationid", str(causation).encode()))
    if trace:
        headers.append(("traceparent", trace.encode()))
    return headers
