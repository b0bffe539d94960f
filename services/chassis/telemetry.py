"""Traces: one order is one trace; the context of every fact is fixed when the fact is told."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACER = trace.get_tracer("kbstylish")
_W3C = TraceContextTextMapPropagator()


def context_of(traceparent: str) -> Context:
    """The remote context a `traceparent` names; an empty context for none or a malformed one."""
    return _W3C.extract({"traceparent": traceparent}, context=Context())


def current_traceparent() -> str:
    """The span that is open now, as `traceparent`; empty without one."""
    context = trace.get_current_span().get_span_context()
    return _written(context) if context.is_valid else ""


def traceparent_of(span: Span) -> str:
    """This span's context as `traceparent`."""
    context = span.get_span_context()
    return _written(context) if context.is_valid else ""


def _written(context: SpanContext) -> str:
    """Version 00 of W3C Trace Context; several times quicker than the propagator."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def is_sampled(traceparent: str) -> bool:
    """Whether the trace is recorded: the last flag bit (W3C Trace Context, section 3.2.2.5)."""
    return traceparent[-3:] in ("-01", "-03")  # 2: the id is random (level 2)


def creation_context(topic: str, event_id: UUID, parent: str) -> str:
    """The context a told fact carries to whoever hears it.

    Of a recorded trace: a `create` span of its own; else the parent's context as it is, without a span,
    because ten spans an order would cost as much as the order itself.
    """
    parent = parent or current_traceparent()
    if not is_sampled(parent):
        return parent
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": topic,
        "messaging.message.id": str(event_id),
    }
    span = TRACER.start_span(
        f"create {topic}", context_of(parent), kind=SpanKind.PRODUCER, attributes=attributes
    )
    span.end()
    return traceparent_of(span)


def links_to(traceparents: Sequence[str], limit: int = 128) -> list[Link]:
    """Links to the recorded contexts among these, at most `limit`."""
    contexts = [
        trace.get_current_span(context_of(one)).get_span_context() for one in traceparents if is_sampled(one)
    ]
    return [Link(context) for context in contexts[:limit] if context.is_valid]


def start_tracing(service: str, endpoint: str | None, *, instance: str, ratio: float = 1.0) -> None:
    """Export spans to an OTLP/HTTP collector (`<endpoint>/v1/traces`); without one nothing is recorded."""
    if not endpoint:
        return
    # Imported here because the exporter costs 20 MB and 0.2 s that an untraced process should not pay.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create({"service.name": service, "service.instance.id": instance})
    provider = TracerProvider(resource=resource, sampler=sampler_of(ratio))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=2)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=65536, max_export_batch_size=2048)
    )
    trace.set_tracer_provider(provider)


def sampler_of(ratio: float) -> Any:  # noqa: ANN401 - of the SDK, which only a traced process imports
    """Of the traces that begin here this share is recorded; of those from elsewhere, what was there."""
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    return ParentBased(TraceIdRatioBased(ratio))


def stop_tracing() -> None:
    """Flush what is still queued; bounded by the exporter's timeout."""
    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is not None:
        shutdown()


def inject(carrier: dict[str, str]) -> Mapping[str, str]:
    """Put the open span's context into HTTP headers."""
    _W3C.inject(carrier)
    return carrier
