"""The relay's span links to what it sends and costs nothing when nobody records."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from services.chassis import send_span as subject

RECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNRECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(subject, "TRACER", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def row(topic: str, traceparent: str | None) -> Any:  # noqa: ANN401 - a mapping serves as the driver's row
    return {"topic": topic, "traceparent": traceparent}


def test_rows_of_recorded_traces_make_one_linked_client_span(spans: InMemorySpanExporter) -> None:
    rows = [row("order.placed", RECORDED), row("order.placed", UNRECORDED), row("order.placed", None)]
    with subject.send_span(3, rows):
        pass
    [span] = spans.get_finished_spans()
    assert (span.name, span.kind) == ("send order.placed", SpanKind.CLIENT)
    assert [link.context.span_id for link in span.links] == [0xB7AD6B7169203331]
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 3
    assert span.attributes["messaging.destination.partition.id"] == "3"


def test_links_are_bounded(spans: InMemorySpanExporter) -> None:
    with subject.send_span(3, [row("order.placed", RECORDED)] * 500):
        pass
    [span] = spans.get_finished_spans()
    assert len(span.links) == 128


def test_rows_of_unrecorded_traces_make_no_span(spans: InMemorySpanExporter) -> None:
    with subject.send_span(3, [row("order.placed", UNRECORDED), row("order.paid", None)]):
        assert not trace.get_current_span().get_span_context().is_valid
    assert not spans.get_finished_spans()
