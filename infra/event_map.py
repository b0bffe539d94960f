"""`python -m infra.event_map`: writes `docs/event-map.md` and a page per event from what the code says.

Sources: the topics and classes of `contracts`, the frozen schemas, and the passports of the services, which
are read and not imported.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from inspect import getdoc
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from contracts.schemas import frozen_file
from contracts.topics import DAY_MS, TOPICS, Topic

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
TOPIC_NAME: Final = re.compile(r"\b[a-z]+\.[a-z]+\b")
MADE: Final = "<!-- Made by `python -m infra.event_map`; do not edit. -->"

Schema = Mapping[str, Any]

VALUES: Final[Mapping[str, Any]] = {
    "quantity": 2,
    "price_paisa": 129_900,
    "net_paisa": 259_800,
    "delivery_paisa": 10_000,
    "total_paisa": 269_800,
    "amount_paisa": 269_800,
    "refund_paisa": 269_800,
    "collected_paisa": 269_800,
    "outstanding_paisa": 0,
    "pay_within_s": 900,
    "hold_no": 1,
    "version": 4,
    "sku": "kurta-red-m",
    "slug": "kurta-red",
    "title": "Red kurta",
    "order_number": "ORD-2026-0000042",
    "reason": "customer_cancelled",
    "collector": "courier-17",
    "proof_ref": "receipt-0042",
}
"""What stands in the examples, by field, so that they agree with each other; an enum's first choice wins."""
SPECIAL: Final[Mapping[tuple[str, bool], dict[str, Any]]] = {
    ("order.revived", False): {"hold_no": 2},
    ("order.cancelled", False): {"finalized": False},
    ("item.fulfilled", True): {"method": "cod"},
    ("order.state", False): {"stage": "rejected"},
    ("order.state", True): {"stage": "confirmed"},
}
"""By topic, and whether everything optional is there: what such an event would say."""
SAME_ID: Final[Mapping[str, str]] = {"subject_id": "order_id", "intent_id": "order_id"}
"""Ids that are equal in an event about an order."""


def main() -> None:
    """Write every page that is not as it should be, and remove pages of events that are gone."""
    wanted = pages()
    for path in set((DOCS / "events").glob("*.md")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sys.stdout.write(f"{len(wanted)} pages written\n")


def pages() -> dict[Path, str]:
    """Every generated page, by its path."""
    hearers = {topic.name: heard_by(topic.name) for topic in TOPICS}
    one_each = {DOCS / "events" / f"{topic.name}.md": _page(topic, hearers[topic.name]) for topic in TOPICS}
    return {DOCS / "event-map.md": _map(hearers)} | one_each


def heard_by(topic: str) -> tuple[str, ...]:
    """The services whose passport names the topic under `Listens`, in alphabetical order."""
    return tuple(name for name, heard in _listens().items() if topic in heard)


def _listens() -> dict[str, frozenset[str]]:
    files = sorted((ROOT / "services").glob("*/__init__.py"))
    return {path.parent.name: _heard(ast.get_docstring(ast.parse(path.read_text())) or "") for path in files}


def _heard(passport: str) -> frozenset[str]:
    found = re.search(r"^Listens:(.*?)^Tells:", passport, re.MULTILINE | re.DOTALL)
    return frozenset(TOPIC_NAME.findall(found[1])) if found else frozenset()


# ----- the map


def _map(hearers: Mapping[str, tuple[str, ...]]) -> str:
    head = [
        MADE,
        "# Event map",
        "",
        "Every topic: who tells it, who hears it, what it says. The key is the order id.",
        "How to read them: [consuming events](consuming-events.md).",
        "",
        "```mermaid",
        *_graph(hearers),
        "```",
        "",
        "The gateway hears without a consumer group: for it the records are hints to look at the owner.",
        "",
        "| Topic | Told by | Heard by | Says | Key | Kept | Schema |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(_row(topic, hearers[topic.name]) for topic in TOPICS), ""])


def _row(topic: Topic, hearers: tuple[str, ...]) -> str:
    file = frozen_file(topic.event).name
    cells = (
        f"[{topic.name}](events/{topic.name}.md)",
        topic.owner,
        _names(hearers),
        _says(topic),
        f"`{topic.event.KEYED_BY}`",
        _kept(topic),
        f"[{file}](../contracts/schemas/{file})",
    )
    return f"| {' | '.join(cells)} |"


def _graph(hearers: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """One arrow for each pair of services, with everything that goes that way."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for topic in TOPICS:
        for hearer in hearers[topic.name]:
            arrows.setdefault((topic.owner, hearer), []).append(topic.name)
    yield "graph LR"
    for (teller, hearer), names in sorted(arrows.items()):
        yield f'    {teller} -->|"{"<br/>".join(names)}"| {hearer}'


def _says(topic: Topic) -> str:
    return " ".join((getdoc(topic.event) or "").split())


def _names(services: tuple[str, ...]) -> str:
    return ", ".join(services) or "no service of ours"


def _kept(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "the latest record of each key"
    return f"{topic.retention_ms // DAY_MS} days"


# ----- one page


def _page(topic: Topic, hearers: tuple[str, ...]) -> str:
    file = frozen_file(topic.event)
    schema: dict[str, Any] = json.loads(file.read_text())
    return "\n".join(
        [
            MADE,
            f"# {topic.name}",
            "",
            _says(topic),
            "",
            "| | |",
            "|---|---|",
            f"| `ce_type` | `{topic.event.type_name()}` |",
            f"| Key | `{topic.event.KEYED_BY}`, as text |",
            f"| Told by | {topic.owner} |",
            f"| Heard by | {_names(hearers)} |",
            f"| Kept | {_kept(topic)} |",
            f"| Partitions | {topic.partitions} |",
            f"| Schema | [{file.name}](../../contracts/schemas/{file.name}) |",
            "",
            "## Body",
            "",
            *_fields(schema),
            *(line for name, part in schema.get("$defs", {}).items() for line in _part(name, part)),
            *_examples(topic),
            "[All events](../event-map.md) · [How to read them](../consuming-events.md)",
            "",
        ]
    )


def _part(name: str, schema: Schema) -> Iterator[str]:
    yield from (f"### {name}", "", " ".join(schema.get("description", "").split()), "")
    yield from _fields(schema)


def _fields(schema: Schema) -> Iterator[str]:
    yield from ("| Field | Is | There |", "|---|---|---|")
    for name, field in schema["properties"].items():
        there = "always" if _is_always_there(schema, name) else "when it applies"
        yield f"| `{name}` | {_kind(name, field)} | {there} |"
    yield ""


def _is_always_there(schema: Schema, name: str) -> bool:
    """Required, or sent with its default: only what is absent is left out."""
    return name in schema.get("required", ()) or "default" in schema["properties"][name]


def _kind(name: str, field: Schema) -> str:  # noqa: PLR0911 - one for each kind
    match field:
        case {"$ref": str() as ref}:
            return ref.rpartition("/")[2]
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": choices}:
            return ", ".join(f"`{choice}`" for choice in choices)
        case {"type": "array", "items": items}:
            return f"list of {_kind(name, items)}"
        case {"format": "uuid"}:
            return "UUID"
        case {"type": "string"}:
            return "time, UTC" if _is_time(name) else "text"
        case _:
            return "integer, paisa" if name.endswith("_paisa") else str(field["type"])


def _is_time(name: str) -> bool:
    return name.endswith(("_at", "_by")) and name != "cancelled_by"


# ----- examples


def _examples(topic: Topic) -> Iterator[str]:
    least, whole = example(topic, whole=False), example(topic, whole=True)
    yield from ("## Example", "", "```json", json.dumps(least, indent=2), "```", "")
    if whole.keys() != least.keys():
        yield from ("With everything that may be there:", "", "```json")
        yield from (json.dumps(whole, indent=2), "```", "")


def example(topic: Topic, *, whole: bool) -> dict[str, Any]:
    """A body that fits the schema, always the same; `whole` with every optional field too."""
    schema: dict[str, Any] = json.loads(frozen_file(topic.event).read_text())
    return _object(schema, schema, whole=whole) | SPECIAL.get((topic.name, whole), {})


def _object(schema: Schema, root: Schema, *, whole: bool) -> dict[str, Any]:
    return {
        name: _value(name, field, root, whole=whole)
        for name, field in schema["properties"].items()
        if whole or _is_always_there(schema, name)
    }


def _value(name: str, field: Schema, root: Schema, *, whole: bool) -> Any:  # noqa: ANN401 - any JSON
    match field:
        case {"$ref": str() as ref}:
            return _object(root["$defs"][ref.rpartition("/")[2]], root, whole=whole)
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"type": "array", "items": items}:
            return (
                [] if field.get("default") == [] and not whole else [_value(name, items, root, whole=whole)]
            )
        case {"format": "uuid"}:
            return f"0198c0de-0000-7000-8000-{crc32(SAME_ID.get(name, name).encode()):012x}"
        case {"type": "boolean"}:
            return True
        case _:
            return "2026-01-15T06:30:00Z" if _is_time(name) else VALUES[name]


if __name__ == "__main__":
    main()
