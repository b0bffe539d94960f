"""Everything the services and topics know of one order: read as it is, judged elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from infra.asking import UNREACHABLE, Asking, why
from infra.databases import SERVICES
from infra.find.events import Event, heard_of, hearers, partition, told_of, with_places
from infra.topic_reading import Topics

Rows = list[Any]
SIDES: Final = {"parked": "in", "refused": "out"}
"""The tables of what was set aside, and what the side of each is called."""


class Group(NamedTuple):
    """How far a consumer group has read one partition, and where that ends."""

    read_to: int
    end: int

    @property
    def behind(self) -> int:
        return max(0, self.end - self.read_to)


# Service -> what -> the question; $1 is the order's id. Each answer is a table of the story.
OF_ORDER: Final[Mapping[str, Mapping[str, str]]] = {
    "orders": {
        "checkout": """
            select order_id, customer_id, method, stage, hold, hold_no, total_paisa, pay_within_s, placed_at,
                   since, asked, paid_at, open_cases, refusals, ended_at, clock_timestamp() as now
            from checkouts where order_id = $1""",
        "order": """
            select order_number, status, total_paisa, blocked, created_at, delivered_at
            from orders where order_id = $1""",
        "items": """
            select id, sku, quantity, vendor_id, status
            from order_items where order_id = $1 order by line""",
        "checkout_history": """
            select at, seq, old_stage as before, new_stage as after, cause, actor_type, reason, trace_id
            from checkout_history where order_id = $1 order by seq""",
        "order_history": """
            select at, seq, old_status as before, new_status as after, cause, actor_type, reason, trace_id
            from order_history where order_id = $1 order by seq""",
        "item_history": """
            select history.at, history.seq, old_status as before, new_status as after, cause, actor_type,
                   reason, trace_id, sku
            from order_items as item join item_history as history on history.item_id = item.id
            where item.order_id = $1 order by history.at, history.seq""",
    },
    "inventory": {
        "holds": """
            select hold_no, status, opened_at, closed_at, clock_timestamp() as now,
                   (select string_agg(quantity || ' x ' || sku, ', ' order by sku) from hold_lines as line
                    where (line.order_id, line.hold_no) = (holds.order_id, holds.hold_no)) as lines
            from holds where order_id = $1 order by hold_no""",
        "movements": """
            select moved_at, kind, sku, delta from stock_movements
            where order_id = $1 and kind = 'sold' order by id""",
    },
    "payments": {
        "intent": """
            select status, amount_paisa, pay_by, close_at, verified_at, left_at, answer, traceparent,
                   opened_at, clock_timestamp() as now
            from intents where subject_id = $1""",
        "attempts": """
            select id, provider, amount_paisa, status, opened_at, next_check_at
            from attempts where subject_id = $1 order by id""",
        "observations": """
            select seen.attempt_id, kind, http_status, verdict, detail, received_at
            from attempts join gateway_observations as seen on seen.attempt_id = attempts.id
            where subject_id = $1 order by received_at""",
        "charges": """
            select charge.provider, provider_txn_id, charge.amount_paisa, confirmed_at, kind
            from attempts join charges as charge on charge.attempt_id = attempts.id
            left join allocations on charge_id = charge.id
            where attempts.subject_id = $1 order by confirmed_at""",
        "refunds": """
            select id, cause, amount_paisa, status, evidence_ref, requested_at, completed_at
            from refunds where subject_id = $1 order by requested_at""",
        "cases": """
            select id, reason, attempt_id, open, resolution, opened_at, closed_at
            from review_cases where subject_id = $1 order by opened_at""",
    },
}
# Asked of every service; $1 is the key as text.
OF_KEY: Final[Mapping[str, str]] = {
    "parked": """
        select id, topic, part, kafka_offset, event_id, state, reason, error, attempts, first_failed_at,
               last_failed_at, replay
        from inbox_parked where key = $1 order by id""",
    "blocks": "select consumer, since, attempts, next_at from inbox_block where key = $1 order by consumer",
    "refused": """
        select id, topic, part, event_id, state, failure, error, attempts, parked_at, last_failed_at, replay
        from outbox_parked where key = $1 order by id""",
}
# What operators did to these things by name, and the replays that took some of its records along.
DONE: Final = """
    select at, actor, action, subject, reason from operator_actions
    where subject = any($1::text[]) or id = any($2::uuid[])
    order by at, id
"""
RETURNED: Final = """
    select moved_at, kind, sku, delta from stock_movements
    where kind = 'returned' and order_item_id = any($1::uuid[]) order by id
"""
OUTBOX_KEPT: Final = timedelta(days=8)
READ_WITHIN_S: Final = 20.0


@dataclass(slots=True)
class Facts:
    """One order, or whatever else has this key, as everybody has it written down."""

    key: str
    tables: dict[str, Rows] = field(default_factory=dict)
    by_service: dict[str, dict[str, Rows]] = field(default_factory=dict)
    """Service -> parked, blocks, refused, done."""
    events: list[Event] = field(default_factory=list)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    """(service, topic) -> how far that service has read where this key's events are."""
    silent: Mapping[str, str] = field(default_factory=dict)

    def all(self, table: str) -> Rows:
        return self.tables.get(table, [])

    def one(self, table: str) -> Any | None:  # noqa: ANN401 - a database row
        return next(iter(self.all(table)), None)

    @property
    def now(self) -> datetime:
        """By the clock of a database that was asked, to which all its times belong."""
        told = (self.one(name) for name in ("checkout", "intent", "holds"))
        return next((row["now"] for row in told if row is not None), datetime.now(UTC))

    @property
    def trace_ids(self) -> list[str]:
        """All that are written down, the one of the checkout first."""
        tables = ("checkout_history", "order_history", "item_history")
        found = [row["trace_id"] for name in tables for row in self.all(name)]
        intent = self.one("intent")
        found += [intent["traceparent"][3:35]] if intent is not None else []
        found += [event.traceparent[3:35] for event in self.events]
        return list(dict.fromkeys(one for one in found if one))


async def gather(key: str, asked: Asking, topics: Topics | None) -> Facts:
    """Ask everybody who can be asked; the others are in `asked.silent`, the broker as `kafka`."""
    facts = Facts(key, silent=asked.silent)
    order_id = _uuid(key)
    if order_id is not None:
        for service, questions in OF_ORDER.items():
            for name, question in questions.items():
                facts.tables[name] = await asked.rows(service, question, order_id)
        item_ids = [item["id"] for item in facts.all("items")]
        facts.tables["movements"] += await asked.rows("inventory", RETURNED, item_ids)
    for service in asked.sessions:
        said = {name: await asked.rows(service, question, key) for name, question in OF_KEY.items()}
        said["done"] = await asked.rows(service, DONE, *_done_to(service, key, said))
        facts.by_service[service] = said
    await _add_events(facts, asked, topics, order_id)
    return facts


def _done_to(service: str, key: str, said: Mapping[str, Rows]) -> tuple[list[str], list[UUID]]:
    """The names under which operators may have done something to it, and the replays it was part of."""
    aside = [(record_name(service, table, row), row["replay"]) for table in SIDES for row in said[table]]
    return [key, *(name for name, _ in aside)], [replay for _, replay in aside if replay is not None]


def record_name(service: str, table: str, row: Any) -> str:  # noqa: ANN401 - a database row
    """What `kb parked` calls a record of `parked` or `refused`."""
    return f"{service}.{SIDES[table]}.{row['id']}"


async def _add_events(facts: Facts, asked: Asking, topics: Topics | None, order_id: UUID | None) -> None:
    told = await told_of(asked, facts.key, order_id)
    if topics is not None:
        try:
            told, complete = await with_places(told, topics, facts.key, order_id, READ_WITHIN_S)
            facts.groups = await _groups(topics, facts.key)
            if not complete:
                asked.silent.setdefault("kafka", f"was read for {READ_WITHIN_S:g} s and not to the end")
        except UNREACHABLE as error:
            asked.silent.setdefault("kafka", why(error))
    facts.events = await heard_of(asked, told)


async def _groups(topics: Topics, key: str) -> dict[tuple[str, str], Group]:
    """How far each service has read where this key's events are."""
    found: dict[tuple[str, str], Group] = {}
    places = topics.chosen(topics.partitions, partition(key))
    ends = await topics.ends(places)
    for service in SERVICES:
        committed = await topics.committed(service)
        for place, end in ends.items():
            topic = place.topic.removeprefix(topics.prefix)
            if service in hearers(topic):
                found[service, topic] = Group(committed.get(place, 0), end)
    return found


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
