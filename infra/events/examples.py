"""`kb events emit-example`: a record as we would tell it, for the tests of those who hear us."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from aiokafka import AIOKafkaProducer

from contracts.topics import Topic
from infra import event_map, places, topics
from infra.databases import SERVICES
from infra.events.asked import refuse, run, topic_named, where
from infra.find.events import partition
from infra.places import Place
from infra.topic_reading import reading
from services.chassis.ids import new_event_id
from services.chassis.publisher import headers_of

TIMEOUT_MS: Final = 10_000
Row = Any
"""A row of an outbox, or what looks like one."""


def emit_example(
    topic: Annotated[str, typer.Argument(help="Which topic.")],
    topic_prefix: Annotated[str, typer.Option(help="What your test's topics begin with.")],
    key: Annotated[
        UUID | None, typer.Option(help="The key; the one of the documented example otherwise.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="With every field that may be there.")] = False,  # noqa: FBT002
    create: Annotated[bool, typer.Option("--create", help="Create the topic if it is missing.")] = False,  # noqa: FBT002
    yes: Annotated[bool, typer.Option("--yes", help="Also where real services read.")] = False,  # noqa: FBT002
    instance: places.Instance = "demo",
    kafka: places.Kafka = None,
) -> None:
    """Send a valid example of a topic's event, under a fresh id, to the topics of that prefix."""
    chosen, place = topic_named(topic), where(instance, None, kafka, topic_prefix)
    row = example_row(chosen, key, whole=whole)
    typer.echo(run(_emit(place, chosen, row, create=create, yes=yes)))


def example_row(topic: Topic, key: UUID | None, *, whole: bool) -> dict[str, Any]:
    """What the outbox would have of such an event; the body is checked by the contract itself."""
    body = event_map.example(topic, whole=whole)
    usual = body[topic.event.KEYED_BY]
    chosen = str(key or usual)
    body = {name: chosen if value == usual else value for name, value in body.items()}
    payload = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    topic.event.model_validate_json(payload)
    return {
        "topic": topic.name,
        "part": partition(chosen),
        "key": chosen,
        "key_seq": 1,
        "event_id": new_event_id(),
        "version": topic.event.VERSION,
        "subject_kind": topic.event.SUBJECT_KIND,
        "payload": payload,
        "correlation_id": None,
        "causation_id": None,
        "traceparent": None,
        "created_at": datetime.now(UTC),
    }


async def _emit(place: Place, topic: Topic, row: Row, *, create: bool, yes: bool) -> str:
    assert place.kafka is not None
    if not yes and (reader := await _reader(place)):
        refuse(f"the prefix `{place.prefix}` is read by {reader}: it would take the example for true (--yes)")
    if create:
        try:
            await topics.create(place.kafka, [topic], prefix=place.prefix)
        except topics.TopicDiffersError as error:
            refuse(f"{error}: examples would land elsewhere than events do; delete it first")
    else:
        await _refuse_missing(place, topic)
    offset = await _send(place.kafka, f"{place.prefix}{topic.name}", topic, row)
    return f"{place.prefix}{topic.name}[{row['part']}]@{offset} {row['key']} {row['event_id']}"


async def _reader(place: Place) -> str | None:
    """A service that reads there; the topics without a prefix always count as those of an installation."""
    assert place.kafka is not None
    if not place.prefix:
        return "the services of an installation"
    async with reading(place.kafka, place.prefix) as there:
        for service in SERVICES:
            if await there.committed(service):
                return service
    return None


async def _refuse_missing(place: Place, topic: Topic) -> None:
    assert place.kafka is not None
    async with reading(place.kafka, place.prefix) as there:
        if topic.name not in there.partitions:
            refuse(f"there is no topic {place.prefix}{topic.name}: --create makes it as the contract says")


async def _send(bootstrap: str, name: str, topic: Topic, row: Row) -> int:
    """The offset it was stored at."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, client_id="kb-example", acks="all", request_timeout_ms=TIMEOUT_MS
    )
    await producer.start()
    try:
        stored = await producer.send_and_wait(
            name,
            row["payload"],
            key=row["key"].encode(),
            partition=row["part"],
            headers=headers_of(row, ("ce_source", f"/services/{topic.owner}".encode())),
        )
    finally:
        await producer.stop()
    offset: int = stored.offset
    return offset
