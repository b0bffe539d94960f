"""`kb events replay`: what was told is sent again from the outbox, byte for byte under the same ids.

For teams that hear us and have lost something: whoever has taken an event knows its copy by its id. Only what
has been published is sent (the rest has its turn to come), never what the broker refused or somebody skipped.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import asyncpg
import typer
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import Topic
from infra import places
from infra.asking import READ_ONLY
from infra.events.asked import instant, refuse, run, topic_named, where
from services.chassis.publisher import headers_of

MOST: Final = 10_000
FASTEST: Final = 500
SLICE_S: Final = 0.1
TIMEOUT_MS: Final = 10_000

SELECTED: Final = """
    select id, outbox.part, topic, key, key_seq, event_id, version, subject_kind, payload, correlation_id,
           causation_id, traceparent, created_at
    from outbox join outbox_shard as shard on shard.part = outbox.part
    where topic = $1 and created_at >= $2 and created_at < $3 and ($4::text is null or key = $4)
      and (pg_visible_in_snapshot(xid, snap)
           or coalesce(pg_visible_in_snapshot(xid, page_to) and id <= page_after, false))
      and not exists (
          select from outbox_parked as refused where refused.id = outbox.id and refused.state <> 'published')
    order by id
    limit $5
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which events of one topic, where to, and how fast (records a second)."""

    topic: Topic
    key: str | None
    since: datetime
    until: datetime
    most: int
    rate: int
    to_prefix: str


@dataclass(frozen=True, slots=True)
class Sent:
    """How many records there were, how many are in the topic, and what stopped it."""

    selected: int
    sent: int
    failure: str = ""


def replay(  # noqa: PLR0913, PLR0917 - options of the command line
    topic: Annotated[str, typer.Argument(help="Which topic.")],
    key: Annotated[str | None, typer.Option(help="Only events of this key.")] = None,
    since: Annotated[str, typer.Option("--from", help="Told from then on: 10m (ago), or a time.")] = "1h",
    until: Annotated[str, typer.Option("--until", help="Told before then.")] = "0s",
    most: Annotated[int, typer.Option(min=1, max=MOST, help="Refuse to send more.")] = 1_000,
    rate: Annotated[int, typer.Option(min=1, max=FASTEST, help="Records a second.")] = 50,
    to_prefix: Annotated[
        str | None, typer.Option(help="Into the topics of this prefix instead of the installation's own.")
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Do it; otherwise only say what it would do.")] = False,  # noqa: FBT002
    instance: places.Instance = "demo",
    database: places.Database = None,
    kafka: places.Kafka = None,
    topic_prefix: places.Prefix = "",
) -> None:
    """Send events of a topic again, as copies with their ids; without --send it only tells which."""
    place, chosen = where(instance, database, kafka, topic_prefix), topic_named(topic)
    target = topic_prefix if to_prefix is None else to_prefix
    wish = Wish(chosen, key, instant(since), instant(until), most, rate, target)
    if chosen.cleanup == "compact" and target == topic_prefix:
        refuse(
            f"{topic} keeps the newest record of each key: an older copy would take its place (--to-prefix)"
        )
    if chosen.owner not in place.databases:
        refuse(f"{topic} is told by {chosen.owner}: give --database {chosen.owner}=DSN")
    rows = run(select(place.databases[chosen.owner], wish))
    if len(rows) > most:
        refuse(f"more than {most} events: narrow it with --from, --until or --key (at most {MOST} by --most)")
    _say(rows, wish)
    if send and rows:
        assert place.kafka is not None
        _end_with(run(copy(place.kafka, wish, rows)))


def _say(rows: Sequence[Any], wish: Wish) -> None:
    typer.echo(f"{len(rows)} events of {wish.topic.name}, told {_short(wish.since)} to {_short(wish.until)}")
    for row in [*rows[:3], *(rows[-1:] if len(rows) > 3 else [])]:  # noqa: PLR2004 - a few, and the last
        typer.echo(f"  {_short(row['created_at'])} {row['key']} #{row['key_seq']} {row['event_id']}")
    seconds = len(rows) / wish.rate
    typer.echo(
        f"to {wish.to_prefix}{wish.topic.name}, {wish.rate} a second: {seconds:.0f} s (--send does it)"
    )


def _short(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _end_with(done: Sent) -> None:
    typer.echo(f"{done.sent} of {done.selected} sent again")
    if done.failure:
        refuse(f"stopped: {done.failure}; those sent are copies, so sending all once more does no harm")


async def select(dsn: str, wish: Wish) -> list[Any]:
    """The events, in the order they were told; one more than wished for, if there are more."""
    session = await asyncpg.connect(dsn, timeout=5, server_settings=READ_ONLY)
    try:
        return list(
            await session.fetch(SELECTED, wish.topic.name, wish.since, wish.until, wish.key, wish.most + 1)
        )
    finally:
        await session.close()


async def copy(bootstrap: str, wish: Wish, rows: Sequence[Any]) -> Sent:
    """Send them at the rate, each into the partition it has; a failure ends it and is in the answer."""
    name, source = f"{wish.to_prefix}{wish.topic.name}", f"/services/{wish.topic.owner}".encode()
    await _refuse_other_topic(bootstrap, name, wish.topic.partitions)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id="kb-replay",
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=TIMEOUT_MS,
    )
    await producer.start()
    sent, at_once = 0, max(1, round(wish.rate * SLICE_S))
    try:
        for row in rows:
            await asyncio.wait_for(_send(producer, name, row, source), TIMEOUT_MS / 1000)
            sent += 1
            if sent % at_once == 0:
                await asyncio.sleep(at_once / wish.rate)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - how far we came must be said
        return Sent(len(rows), sent, f"{type(error).__name__}: {error}")
    finally:
        await producer.stop()
    return Sent(len(rows), sent)


async def _send(producer: AIOKafkaProducer, name: str, row: Any, source: bytes) -> None:  # noqa: ANN401
    await producer.send_and_wait(
        name,
        row["payload"],
        key=row["key"].encode(),
        partition=row["part"],
        timestamp_ms=int(row["created_at"].timestamp() * 1000),
        headers=headers_of(row, ("ce_source", source)),
    )


async def _refuse_other_topic(bootstrap: str, name: str, partitions: int) -> None:
    """A topic that is not there, or has other partitions, is not one to send to."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=TIMEOUT_MS)
    try:
        await admin.start()
        there = name in await admin.list_topics()
        count = len((await admin.describe_topics([name]))[0]["partitions"]) if there else 0
    finally:
        await admin.close()
    if count != partitions:
        refuse(f"the topic {name} has {count} partitions, the contract says {partitions}: create it first")
