"""Logs: one JSON object a line, with the trace it belongs to."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from opentelemetry import trace

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _add_trace(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        entry["trace_id"] = f"{context.trace_id:032x}"
        entry["span_id"] = f"{context.span_id:016x}"
    return entry


def _to_json(entry: Any, default: Any = None, **_: Any) -> str:  # noqa: ANN401 - structlog's serializer protocol
    return orjson.dumps(entry, default=default or str).decode()


class _ToStructlog(logging.Handler):
    """Lines of the libraries, in our shape."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()[:2000]
        error = repr(record.exc_info[1])[:500] if record.exc_info else None
        structlog.get_logger(record.name).log(
            max(record.levelno, 10), text, **({"error": error} if error else {})
        )


def start(service: str, instance: str, level: str = "info") -> None:
    """Log to standard output; the libraries' own chatter only from WARNING up."""
    number = LEVELS.get(level, 20)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", key="ts"),
            _add_trace,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(logging.WARNING)
