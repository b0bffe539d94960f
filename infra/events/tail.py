"""`kb events tail`: records as they arrive, or from a time on; nobody's offsets are touched."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from contracts.topics import BY_NAME
from infra import places
from infra.events.asked import instant, refuse, run, topic_named, where
from infra.find.events import partition
from infra.places import Place
from infra.topic_reading import Seen, Topics, reading

WAIT_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """Which records, and how many; `since` None: only what comes from now on."""

    topics: tuple[str, ...]
    key: str | None
    since: datetime | None
    follow: bool
    most: int


def tail(  # noqa: PLR0913, PLR0917 - options of the command line
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic; may be given again.")] = None,
    key: Annotated[str | None, typer.Option(help="Only records of this key.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="10m (ago), a time, or `start`; from now on otherwise.")
    ] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more; otherwise end at the end.")] = True,  # noqa: FBT002
    most: Annotated[int, typer.Option(min=1, help="End after so many.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Whole records, a line each.")] = False,  # noqa: FBT002
    instance: places.Instance = "demo",
    kafka: places.Kafka = None,
    topic_prefix: places.Prefix = "",
) -> None:
    """Print records of the topics, a line each, until Ctrl-C."""
    names = tuple(topic_named(one).name for one in topic or BY_NAME)
    begin = datetime.fromtimestamp(0, UTC) if since == "start" else instant(since) if since else None
    wish = Wish(names, key, begin, follow, most)
    run(_tail(where(instance, None, kafka, topic_prefix), wish, _as_json if as_json else _as_line))


async def _tail(place: Place, wish: Wish, written: Callable[[Seen], str]) -> None:
    assert place.kafka is not None
    async with reading(place.kafka, place.prefix) as topics:
        partitions = topics.chosen(wish.topics, partition(wish.key) if wish.key else None)
        if not partitions:
            refuse(f"no such topic is there under the prefix `{place.prefix}`")
        since = wish.since or datetime.now(UTC)
        await topics.begin(partitions, int(since.timestamp() * 1000))
        ends, left = await topics.ends(partitions), wish.most
        while left > 0 and (wish.follow or not await _is_past(topics, ends)):
            for one in (await _some(topics, wish.key))[:left]:
                typer.echo(written(one))
                left -= 1


async def _is_past(topics: Topics, ends: dict[Any, int]) -> bool:
    return all([await topics.consumer.position(one) >= end for one, end in ends.items()])


async def _some(topics: Topics, key: str | None) -> list[Seen]:
    """What has arrived, by time; of several topics the order is only as good as their clocks."""
    batches = await topics.consumer.getmany(timeout_ms=WAIT_MS, max_records=500)
    wanted = key.encode() if key else None
    found = [topics.seen(raw) for batch in batches.values() for raw in batch if wanted in (None, raw.key)]
    return sorted(found, key=lambda one: one.at)


def _as_line(one: Seen) -> str:
    headers = one.record.headers
    sequence = "?" if one.sequence is None else str(one.sequence)
    at = f"{one.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return f"{at} {one.where} {one.record.key} #{sequence} {headers.get('ce_id', 'without an id')}"


def _as_json(one: Seen) -> str:
    record = one.record
    body = None if record.value is None else record.value.decode("utf-8", "replace")
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    return json.dumps(
        {**place, "at": str(one.at), "key": record.key, "headers": dict(record.headers), "body": body}
    )
