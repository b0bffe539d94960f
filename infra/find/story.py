"""The one story across services: every row and record of an order as a line, in the order of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from infra.find.events import Event
from infra.find.facts import Facts, record_name

HISTORIES: Final = (
    ("checkout_history", "checkout"),
    ("order_history", "order"),
    ("item_history", "item"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened: when, by the clock of the service it happened in, and what."""

    at: datetime
    service: str
    kind: str
    text: str


def story(facts: Facts) -> list[Line]:
    """Everything, sorted by time; what one service told at one time keeps its order."""
    parts = (_stages, _events, _attempts, _money, _stock, _parked, _done)
    return sorted((line for part in parts for line in part(facts)), key=lambda line: line.at)


def _stages(facts: Facts) -> Iterator[Line]:
    topics = {event.id: event.topic for event in facts.events}
    for table, kind in HISTORIES:
        for row in facts.all(table):
            name = f" {row['sku']}" if kind == "item" else ""
            cause = topics.get(row["cause"], row["cause"])
            by = f"because of {cause}" if row["cause"] else f"by {row['actor_type']}"
            before = f"{row['before']} -> " if row["before"] else ""
            yield Line(row["at"], "orders", kind, f"{before}{row['after']}{name} ({row['reason']}, {by})")


def _events(facts: Facts) -> Iterator[Line]:
    for event in facts.events:
        yield Line(event.at, event.owner, "event", _event(facts, event))


def _event(facts: Facts, event: Event) -> str:
    heard = f", heard by {', '.join(sorted(event.heard_by))}" if event.heard_by else ""
    unheard = [one for one in event.unheard_by if one not in facts.silent]
    waits = f", not by {', '.join(unheard)}" if unheard else ""
    copies = f", sent {event.copies + 1} times" if event.copies else ""
    left = "" if event.published else ", not published yet"
    return f"{event.where} #{event.sequence} {event.id}{left}{copies}{heard}{waits}"


def _attempts(facts: Facts) -> Iterator[Line]:
    for attempt in facts.all("attempts"):
        text = (
            f"opened at {attempt['provider']} for {rupees(attempt['amount_paisa'])}, now {attempt['status']}"
        )
        yield Line(attempt["opened_at"], "payments", "attempt", f"{text}, {attempt['id']}")
    for seen in facts.all("observations"):
        status = f" {seen['http_status']}" if seen["http_status"] else ""
        detail = f": {seen['detail']}" if seen["detail"] else ""
        yield Line(seen["received_at"], "payments", seen["kind"], f"{seen['verdict']}{status}{detail}")


def _money(facts: Facts) -> Iterator[Line]:
    intent = facts.one("intent")
    if intent is not None:
        amount = rupees(intent["amount_paisa"]) if intent["amount_paisa"] else "no amount"
        yield Line(intent["opened_at"], "payments", "intent", f"opened over {amount}, now {intent['status']}")
    for row in facts.all("charges"):
        text = f"{rupees(row['amount_paisa'])} of {row['provider']} {row['provider_txn_id']}: {row['kind']}"
        yield Line(row["confirmed_at"], "payments", "charge", text)
    for row in facts.all("refunds"):
        text = f"{rupees(row['amount_paisa'])} ({row['cause']}), now {row['status']}"
        yield Line(row["requested_at"], "payments", "refund", text)
        if row["completed_at"]:
            proof = f", proof {row['evidence_ref']}" if row["evidence_ref"] else ""
            yield Line(row["completed_at"], "payments", "refund", f"{row['status']}{proof}")
    yield from _cases(facts)


def _cases(facts: Facts) -> Iterator[Line]:
    for row in facts.all("cases"):
        yield Line(row["opened_at"], "payments", "case", f"opened: {row['reason']}, {row['id']}")
        if row["closed_at"]:
            yield Line(row["closed_at"], "payments", "case", f"closed: {row['reason']}, {row['resolution']}")


def _stock(facts: Facts) -> Iterator[Line]:
    for row in facts.all("holds"):
        lines = f": {row['lines']}" if row["lines"] else " (a tombstone: it holds nothing)"
        yield Line(row["opened_at"], "inventory", "hold", f"{row['hold_no']} began{lines}")
        if row["closed_at"]:
            yield Line(row["closed_at"], "inventory", "hold", f"{row['hold_no']} is {row['status']}")
    for row in facts.all("movements"):
        yield Line(row["moved_at"], "inventory", "stock", f"{row['kind']} {row['delta']:+d} {row['sku']}")


def _parked(facts: Facts) -> Iterator[Line]:
    for service, said in facts.by_service.items():
        for row in said.get("parked", ()):
            where = f"{row['topic']}[{row['part']}]@{row['kafka_offset']}"
            text = _set_aside(record_name(service, "parked", row), where, row["reason"], row)
            yield Line(row["first_failed_at"], service, "parked", text)
        for row in said.get("refused", ()):
            where = f"{row['topic']}[{row['part']}]"
            text = _set_aside(record_name(service, "refused", row), where, row["failure"], row)
            yield Line(row["parked_at"], service, "refused", text)


def _set_aside(name: str, where: str, failure: str, row: Any) -> str:  # noqa: ANN401 - a database row
    """As it is now; when it failed first is the time of the line."""
    event = f" {row['event_id']}" if row["event_id"] else ""
    retried = f"retried {row['attempts']} times, last failed {row['last_failed_at']:%H:%M:%S}"
    return f"{name}: {row['state']} {where}{event} ({retried}): {failure}, {row['error']}"


def _done(facts: Facts) -> Iterator[Line]:
    """What people did, and why; who they are, their token says by an id."""
    for service, said in facts.by_service.items():
        for row in said.get("done", ()):
            text = f"{row['action']} of {row['subject']} by {row['actor']}: {row['reason']}"
            yield Line(row["at"], service, "operator", text)


def rupees(paisa: int) -> str:
    """Money for people: rupees with their hundredth parts."""
    return f"NPR {paisa / 100:,.2f}"
