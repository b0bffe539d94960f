"""The `send` span of one publish: it links to the contexts the events carry and changes none of them."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import asyncpg
import orjson
from opentelemetry.trace import Span, SpanKind

from services.chassis.telemetry import TRACER, links_to

SAMPLED = ('-01"', '-03"')


def send_span(part: int, rows: Sequence[asyncpg.Record]) -> AbstractContextManager[Span | None]:
    """One CLIENT span for these rows when at least one of them belongs to a recorded trace, else nothing."""
    sampled = sampled_contexts(row["headers"] for row in rows)
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


def sampled_contexts(headers: Iterable[str]) -> list[str]:
    """The recorded `traceparent`s among these header texts; most have none and are not even parsed."""
    return [orjson.loads(text)["traceparent"] for text in headers if any(flags in text for flags in SAMPLED)]
