"""The `send` span of one publish: it links to the contexts the events carry and changes none of them."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import asyncpg
from opentelemetry.trace import Span, SpanKind

from services.chassis.telemetry import TRACER, is_sampled, links_to


def send_span(part: int, rows: Sequence[asyncpg.Record]) -> AbstractContextManager[Span | None]:
    """One CLIENT span for these rows when at least one of them belongs to a recorded trace, else nothing."""
    sampled = sampled_contexts(row["traceparent"] for row in rows)
    if not sampled:
        return nullcontext()
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.partition.id": str(part),
        "messaging.batch.message_count": len(rows),
    }
    name, topics = "send", {row["topic"] for row in rows}
    if len(topics) == 1:
        name = f"send {rows[0]['topic']}"
        attributes["messaging.destination.name"] = rows[0]["topic"]
    return TRACER.start_as_current_span(
        name, kind=SpanKind.CLIENT, attributes=attributes, links=links_to(sampled)
    )


def sampled_contexts(traceparents: Iterable[str | None]) -> list[str]:
    """The contexts of recorded traces among these."""
    return [one for one in traceparents if one and is_sampled(one)]
