"""An OTLP collector for tests: takes what the services export and hands the spans out."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MOST_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """One exported span."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    links: tuple[str, ...]
    """The span ids it links to."""


@dataclass(slots=True)
class Collector:
    """Everything exported so far; `endpoint` is what a service is told."""

    endpoint: str = ""
    spans: list[Seen] = field(default_factory=list)

    def trace(self, trace_id: str) -> list[Seen]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def with_attribute(self, name: str, value: str) -> list[Seen]:
        return [span for span in self.spans if span.attributes.get(name) == value]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """HTTP/1.1, POST with a content length: all an exporter sends."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self._take(head, await reader.readexactly(_length(head)))
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _take(self, head: bytes, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(gzip.decompress(body) if b"content-encoding: gzip" in head.lower() else body)
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_seen(names.get("service.name", ""), span) for span in scope.spans]


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    assert length <= MOST_BODY
    return length


def _seen(service: str, span: object) -> Seen:
    values = {one.key: one.value for one in span.attributes}  # type: ignore[attr-defined]
    return Seen(
        service,
        span.name,  # type: ignore[attr-defined]
        span.trace_id.hex(),  # type: ignore[attr-defined]
        span.span_id.hex(),  # type: ignore[attr-defined]
        span.parent_span_id.hex(),  # type: ignore[attr-defined]
        {
            key: str(getattr(value, value.WhichOneof("value") or "string_value"))
            for key, value in values.items()
        },
        tuple(link.span_id.hex() for link in span.links),  # type: ignore[attr-defined]
    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a free port of the loopback."""
    collector = Collector()
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    collector.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield collector
