"""`kb trace`: the spans of an order as a tree where there are any, its events as a tree otherwise."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Response

from infra.trace import NoTraceError, ask, spans_of
from tests.integration.audit.lived_in import LivedIn
from tests.integration.looking.asking import kb, there, value
from tests.support.web import serving

DELIVERED = "select order_id from orders where status = 'delivered' order by order_id limit 1"
UNSAMPLED = "f" * 32


def jaeger_span(number: str, parent: str | None, name: str, process: str) -> dict[str, Any]:
    references = [{"refType": "CHILD_OF", "traceID": "a", "spanID": parent}] if parent else []
    times = {"startTime": 1_000_000 + int(number) * 1_000, "duration": 2_500}
    return {"spanID": number, "operationName": name, "references": references, "processID": process, **times}


JAEGER = {
    "data": [
        {
            "spans": [
                jaeger_span("2", "1", "create order.placed", "p2"),
                jaeger_span("1", None, "POST /v1/checkouts", "p1"),
                jaeger_span("3", "2", "process order.placed", "p3"),
                jaeger_span("4", "gone", "an orphan", "p3"),
            ],
            "processes": {
                "p1": {"serviceName": "gateway"},
                "p2": {"serviceName": "orders"},
                "p3": {"serviceName": "inventory"},
            },
        }
    ]
}
OTLP = {
    "result": {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "orders"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "spanId": "1",
                                "parentSpanId": "",
                                "name": "create order.placed",
                                "startTimeUnixNano": "1000000000",
                                "endTimeUnixNano": "1002500000",
                            }
                        ]
                    }
                ],
            }
        ]
    }
}


@pytest.fixture
async def jaeger() -> AsyncIterator[str]:
    """A store of spans that has every trace but one, and a second face that knows only OTLP."""
    app = FastAPI()

    @app.get("/api/traces/{trace_id}")
    async def traces(trace_id: str) -> dict[str, Any]:
        return JAEGER if trace_id != UNSAMPLED else {"data": []}

    @app.get("/otlp/api/v3/traces/{trace_id}")
    async def otlp(trace_id: str) -> dict[str, Any]:
        return OTLP if trace_id else {}

    @app.get("/odd/api/traces/{trace_id}")
    async def odd(trace_id: str) -> Response:
        return Response(f"<html>{trace_id}</html>", media_type="text/html")

    async with serving(app) as url:
        yield url


async def test_spans_are_drawn_as_a_tree(world: LivedIn, jaeger: str) -> None:
    order_id = str(await asyncio.to_thread(value, world.databases["orders"], DELIVERED))
    done = await asyncio.to_thread(kb, "trace", order_id, f"--spans={jaeger}", *there(world))
    assert done.exit_code == 0, done.output
    assert "From tables and topics" not in done.output
    shown = [line.rstrip() for line in done.output.splitlines() if "ms, took" in line]
    depths = [len(line) - len(line.lstrip(" │├└─")) for line in shown]
    assert [line.lstrip(" │├└─").split("  ")[0] for line in shown] == [
        "gateway POST /v1/checkouts",
        "orders create order.placed",
        "inventory process order.placed",
        "inventory an orphan",
    ]
    assert depths[0] < depths[1] < depths[2]
    assert depths[3] == depths[0]
    assert "+1.0 ms, took 2.5 ms" in shown[1]


@pytest.mark.parametrize("spans", [None, "http://127.0.0.1:1"], ids=["none configured", "not there"])
def test_without_spans_the_events_are_the_tree_and_it_says_so(world: LivedIn, spans: str | None) -> None:
    order_id = str(value(world.databases["orders"], DELIVERED))
    done = kb("trace", order_id, *([f"--spans={spans}"] if spans else []), *there(world))
    assert done.exit_code == 0, done.output
    why = "does not answer" if spans else "no store of spans is configured"
    assert f"From tables and topics, because {'the store of spans ' if spans else ''}{why}" in done.output
    shown = [line for line in done.output.splitlines() if "]@" in line]
    depth = {
        line.lstrip(" │├└─").split()[1].partition("[")[0]: len(line) - len(line.lstrip(" │├└─"))
        for line in reversed(shown)
    }
    assert depth["order.placed"] < depth["stock.reserved"] < depth["payment.opened"]
    assert depth["payment.verified"] < depth["order.finalized"]


async def test_a_trace_that_was_not_sampled_is_said_so(jaeger: str) -> None:
    with pytest.raises(NoTraceError, match="may not have been sampled"):
        await ask(jaeger, UNSAMPLED)
    with pytest.raises(NoTraceError, match="cannot read"):
        await ask(f"{jaeger}/odd", "a")
    with pytest.raises(NoTraceError, match="status 404"):
        await ask(f"{jaeger}/nothing", "a")


async def test_the_other_form_of_the_answer_is_read_too(jaeger: str) -> None:
    (span,) = await ask(f"{jaeger}/otlp", "a")
    assert (span.service, span.name, span.start_us, span.took_us) == (
        "orders",
        "create order.placed",
        1_000_000,
        2_500,
    )
    assert spans_of(OTLP["result"]) == [span]


def test_an_unknown_id_has_no_trace(world: LivedIn) -> None:
    done = kb("trace", "ORD-1999-0000001", *there(world))
    assert done.exit_code == 1
    assert "nobody knows" in done.output
    assert kb("trace", "ORD-1999-0000001", "--instance=nowhere").exit_code == 2
