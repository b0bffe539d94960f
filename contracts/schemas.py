"""JSON Schemas of the events: made from the classes, frozen in `contracts/schemas/`, compared."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.event import Event
from contracts.topics import TOPICS

FOLDER = Path(__file__).parent / "schemas"
Schema = Mapping[str, Any]


def schema_of(event: type[Event]) -> dict[str, Any]:
    """The event's schema (JSON Schema 2020-12), closed: a teller may send nothing it does not list."""
    schema: dict[str, Any] = _closed(event.model_json_schema(mode="serialization"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": event.type_name()} | schema


def _closed(node: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without further properties, and without null: an absent value is left out."""
    if isinstance(node, list):
        return [_closed(child) for child in node]
    if not isinstance(node, dict):
        return node
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        node = {key: value for key, value in node.items() if key not in ("anyOf", "default")} | choices[0]
    closed = {key: _closed(value) for key, value in node.items()}
    return closed | {"additionalProperties": False} if closed.get("type") == "object" else closed


def frozen_file(event: type[Event]) -> Path:
    """Where the schema of this version lies."""
    return FOLDER / f"{event.TOPIC}.v{event.VERSION}.json"


def text_of(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def freeze() -> list[str]:
    """Write every schema down; returns the names of the files that changed."""
    FOLDER.mkdir(exist_ok=True)
    changed = []
    for topic in TOPICS:
        file, text = frozen_file(topic.event), text_of(schema_of(topic.event))
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            changed.append(file.name)
    return changed


def incompatibilities(released: Schema, proposed: Schema, at: str = "") -> Iterator[str]:
    """What in `proposed` breaks a reader or teller of `released`; only new optional properties may come."""
    before, after = released.get("properties", {}), proposed.get("properties", {})
    yield from (f"{at}/{name}: removed" for name in before if name not in after)
    required_before, required_after = set(released.get("required", ())), set(proposed.get("required", ()))
    yield from (f"{at}/{name}: newly required" for name in sorted(required_after - required_before))
    yield from (
        f"{at}/{name}: no longer required" for name in sorted((required_before - required_after) & set(after))
    )
    for name in before.keys() & after.keys():
        if _meaning(before[name]) != _meaning(after[name]):
            yield f"{at}/{name}: {_meaning(before[name])} became {_meaning(after[name])}"
    inner_before, inner_after = released.get("$defs", {}), proposed.get("$defs", {})
    for name in inner_before.keys() & inner_after.keys():
        yield from incompatibilities(inner_before[name], inner_after[name], f"{at}/{name}")


def _meaning(node: Any) -> Any:  # noqa: ANN401 - any JSON
    """A property without its prose."""
    if isinstance(node, dict):
        return {key: _meaning(value) for key, value in node.items() if key not in ("title", "description")}
    return [_meaning(child) for child in node] if isinstance(node, list) else node
