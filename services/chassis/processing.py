"""Consumer spans: one a batch with links, and one a record for recorded traces only."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind

from services.chassis.records import Heard
from services.chassis.telemetry import TRACER, context_of, is_sampled, links_to, traceparent_of


@contextmanager
def spans_for(topic: str, heard: Sequence[Heard]) -> Iterator[None]:
    """Record the processing of these events; what they cause continues their own spans."""
    recorded = [one for one in heard if is_sampled(one.event.envelope.traceparent)]
    if not recorded:
        yield
        return
    links = links_to([one.event.envelope.traceparent for one in recorded])
    attributes = {"messaging.batch.message_count": len(heard)} | _attributes(topic)
    with ExitStack() as stack:
        batch = TRACER.start_span(
            f"process {topic}", kind=SpanKind.CONSUMER, links=links, attributes=attributes
        )
        stack.callback(batch.end)
        for one in recorded:
            span = _record_span(topic, one, batch)
            stack.callback(span.end)
            one.seen_as(traceparent_of(span))
        with trace.use_span(batch, end_on_exit=False):
            yield


def _record_span(topic: str, one: Heard, batch: Span) -> Span:
    """Child of the context the event was created in, linked to the batch it was handled with."""
    attributes = _attributes(topic) | {
        "messaging.message.id": str(one.event_id),
        "messaging.destination.partition.id": str(one.record.partition),
        "messaging.kafka.offset": one.record.offset,
        "messaging.kafka.message.key": one.key,
        f"kb.{one.event.SUBJECT_KIND}.id": one.key,
    }
    parent = context_of(one.event.envelope.traceparent)
    links = [Link(batch.get_span_context())]
    return TRACER.start_span(
        f"process {topic}", parent, kind=SpanKind.CONSUMER, links=links, attributes=attributes
    )


def _attributes(topic: str) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
    }
