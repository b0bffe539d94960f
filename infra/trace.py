"""`kb trace`: the trace of an order, from where spans are kept, or else as its events caused one another."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import httpx2
import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from infra import places
from infra.find.command import CANNOT_LOOK, Found, find, say_silent, say_unknown
from infra.find.events import Event
from infra.find.facts import Facts
from infra.places import NowhereError, place_of

ANSWERS_WITHIN_S: Final = 10.0
NO_PARENT: Final = ""


@dataclass(frozen=True, slots=True)
class Span:
    """One span, wherever it was kept; times in microseconds."""

    id: str
    parent: str
    service: str
    name: str
    start_us: int
    took_us: int


class NoTraceError(Exception):
    """The store of spans has none of this trace, or did not answer; the message says which."""


def trace_command(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Whatever `kb find` takes.")],
    instance: places.Instance = "demo",
    database: places.Database = None,
    kafka: places.Kafka = None,
    topic_prefix: places.Prefix = "",
    spans: Annotated[
        str | None,
        typer.Option(
            envvar="KB_TRACES_URL", help="Where spans can be asked for: the URL of Jaeger's query API."
        ),
    ] = None,
) -> None:
    """Print the trace of an order: its spans, or, without a store of spans, its events as a tree."""
    try:
        found = asyncio.run(find(wanted, place_of(instance, database, kafka, topic_prefix)))
    except NowhereError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(CANNOT_LOOK) from None
    say_silent(found)
    if found.known is None:
        say_unknown(wanted, found)
    _show(found, spans, Console(soft_wrap=True, highlight=False))


def _show(found: Found, spans: str | None, console: Console) -> None:
    for facts in found.stories:
        drawn, why_not = None, "no store of spans is configured (--spans, KB_TRACES_URL)"
        if spans and facts.trace_ids:
            try:
                drawn = _of_spans(asyncio.run(ask(spans, facts.trace_ids[0])))
            except NoTraceError as error:
                why_not = str(error)
        trace = facts.trace_ids[0] if facts.trace_ids else "nobody wrote down"
        console.print(Text(f"order {facts.key}, trace {trace}", style="bold"))
        if drawn is None:
            console.print(Text(f"From tables and topics, because {why_not}:"))
        console.print(drawn or of_events(facts))


# ----- where spans are kept


async def ask(url: str, trace_id: str) -> list[Span]:
    """The spans of a trace, from Jaeger's query API (its own JSON, or OTLP); raises NoTraceError."""
    try:
        async with httpx2.AsyncClient(timeout=ANSWERS_WITHIN_S, trust_env=False) as client:
            answer = await client.get(f"{url.rstrip('/')}/api/traces/{trace_id}")
            if answer.status_code == httpx2.codes.NOT_FOUND:
                answer = await client.get(f"{url.rstrip('/')}/api/v3/traces/{trace_id}")
    except httpx2.HTTPError as error:
        raise NoTraceError(f"the store of spans does not answer ({type(error).__name__})") from error
    if answer.status_code != httpx2.codes.OK:
        raise NoTraceError(f"the store of spans does not have it (status {answer.status_code})")
    try:
        spans = spans_of(answer.json())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoTraceError(f"the store of spans answers what we cannot read ({error!r:.80})") from error
    if not spans:
        raise NoTraceError("the store of spans has none of it; it may not have been sampled")
    return spans


def spans_of(told: Mapping[str, Any]) -> list[Span]:
    """From either form; raises KeyError, TypeError, ValueError or AttributeError for anything else."""
    if "data" in told:
        return [span for trace in told["data"] or () for span in _jaeger(trace)]
    resources = told.get("result", told)["resourceSpans"]
    return [span for resource in resources for span in _otlp(resource)]


def _jaeger(trace: Mapping[str, Any]) -> Iterator[Span]:
    for one in trace["spans"]:
        parents = [ref["spanID"] for ref in one.get("references", ()) if ref["refType"] == "CHILD_OF"]
        service = trace["processes"][one["processID"]]["serviceName"]
        yield Span(
            one["spanID"],
            parents[0] if parents else NO_PARENT,
            service,
            one["operationName"],
            one["startTime"],
            one["duration"],
        )


def _otlp(resource: Mapping[str, Any]) -> Iterator[Span]:
    told = {one["key"]: one["value"] for one in resource["resource"].get("attributes", ())}
    service = told.get("service.name", {}).get("stringValue", "?")
    for one in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
        start, end = int(one["startTimeUnixNano"]), int(one["endTimeUnixNano"])
        took_us = (end - start) // 1000
        yield Span(one["spanId"], one.get("parentSpanId") or "", service, one["name"], start // 1000, took_us)


# ----- trees


def _of_spans(spans: Sequence[Span]) -> Tree:
    known, first = {span.id for span in spans}, min(span.start_us for span in spans)
    rooted = [span if span.parent in known else replace(span, parent=NO_PARENT) for span in spans]
    children: dict[str, list[Span]] = {}
    for span in sorted(rooted, key=lambda one: one.start_us):
        children.setdefault(span.parent, []).append(span)
    return _grown(Tree(f"{len(spans)} spans"), children, NO_PARENT, first)


def _grown(tree: Tree, children: Mapping[str, Iterable[Span]], parent: str, first_us: int) -> Tree:
    for span in children.get(parent, ()):
        after_ms, took_ms = (span.start_us - first_us) / 1000, span.took_us / 1000
        label = f"{span.service} {span.name}  +{after_ms:.1f} ms, took {took_ms:.1f} ms"
        _grown(tree.add(Text(label)), children, span.id, first_us)
    return tree


def of_events(facts: Facts) -> Tree:
    """Each event below the one that caused it; those caused by people and timers at the top."""
    known = {event.id for event in facts.events}
    children: dict[object, list[Event]] = {}
    for event in facts.events:
        children.setdefault(event.causation if event.causation in known else None, []).append(event)
    first = facts.events[0].at if facts.events else datetime.now(UTC)
    tree = Tree(f"{len(facts.events)} events")
    waiting: list[tuple[Tree, object]] = [(tree, None)]
    while waiting:
        branch, cause = waiting.pop()
        caused = children.pop(cause, ())
        waiting += [(branch.add(Text(_event(event, first))), event.id) for event in caused]
    return tree


def _event(event: Event, first: datetime) -> str:
    after_ms = (event.at - first).total_seconds() * 1000
    heard = f", heard by {', '.join(sorted(event.heard_by))}" if event.heard_by else ""
    return f"{event.owner} {event.where} #{event.sequence}  +{after_ms:.1f} ms{heard}"
