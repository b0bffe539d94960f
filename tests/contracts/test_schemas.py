"""What our consumers rely on is frozen: a schema changes on purpose and compatibly, or not at all."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, ValidationError

from contracts.event import Event
from contracts.schemas import frozen_file, incompatibilities, schema_of, text_of
from contracts.topics import TOPICS, Topic

# A time without an offset means nothing here.
st.register_type_strategy(AwareDatetime, st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001

PERSONAL = ("name", "phone", "email", "address", "line1", "line2", "city", "district", "note")


def name_of(topic: Topic) -> str:
    return topic.name


def properties(schema: dict[str, Any]) -> set[str]:
    inner = [properties(one) for one in schema.get("$defs", {}).values()]
    return set(schema.get("properties", {})).union(*inner)


@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
def test_the_frozen_schema_is_the_class(topic: Topic) -> None:
    assert frozen_file(topic.event).read_text() == text_of(schema_of(topic.event))


@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
def test_a_change_within_a_version_breaks_nobody(topic: Topic) -> None:
    released = json.loads(frozen_file(topic.event).read_text())
    assert list(incompatibilities(released, schema_of(topic.event))) == []


@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
def test_a_public_event_carries_nothing_personal(topic: Topic) -> None:
    assert properties(schema_of(topic.event)).isdisjoint(PERSONAL)


@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
def test_absent_is_said_by_leaving_out_and_never_by_null(topic: Topic) -> None:
    assert '"null"' not in text_of(schema_of(topic.event))


@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_we_can_tell_fits_its_schema_and_can_be_read_back(topic: Topic, data: st.DataObject) -> None:
    try:
        event = data.draw(st.from_type(topic.event))
    except ValidationError:  # the drawing does not know the bounds of optional fields
        reject()
    body = event.model_dump_json(exclude_none=True)
    jsonschema_rs.validate(json.loads(frozen_file(topic.event).read_text()), json.loads(body))
    assert topic.event.model_validate_json(body) == event


def changed(event: type[Event], how: str) -> dict[str, Any]:
    schema = copy.deepcopy(schema_of(event))
    first = next(iter(schema["properties"]))
    if how == "removed":
        del schema["properties"][first]
    elif how == "newly required":
        schema["properties"]["fresh"] = {"type": "integer"}
        schema["required"].append("fresh")
    elif how == "became":
        schema["properties"][first] = {"type": "boolean"}
    else:
        schema["properties"]["fresh"] = {"type": "integer"}
    return schema


@pytest.mark.parametrize("how", ["removed", "newly required", "became"])
@pytest.mark.parametrize("topic", TOPICS[:3], ids=name_of)
def test_the_gate_sees_a_breaking_change(topic: Topic, how: str) -> None:
    found = list(incompatibilities(schema_of(topic.event), changed(topic.event, how)))
    assert any(how in one for one in found)


def test_the_gate_lets_a_new_optional_property_through() -> None:
    event = TOPICS[0].event
    assert list(incompatibilities(schema_of(event), changed(event, "added"))) == []
