"""What is wrong with records is found too: the topics of the world are told again, with one thing changed."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from infra.audit import Report
from infra.audit.topics import TOPICS, heard_by
from tests.integration.audit.lived_in import OWNERS, LivedIn
from tests.support.topic_log import read_all

Audit = Callable[..., Awaitable[Report]]
MakeTopics = Callable[..., Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Raw:
    """A record about to be sent; `topic` without prefix."""

    topic: str
    part: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    at_ms: int

    def header(self, name: str) -> bytes | None:
        return dict(self.headers).get(name)

    def saying(self, name: str, value: bytes | None) -> "Raw":
        """The same with another value of that header."""
        return replace(self, headers=(*(one for one in self.headers if one[0] != name), (name, value)))


Change = Callable[[list[Raw]], list[Raw]]


async def told_again(world: LivedIn, prefix: str, change: Change, *, committed: bool = True) -> None:
    """The world's records, changed, in other topics; the groups have read all of them, or nothing."""
    found = await read_all(world.kafka, [f"{world.prefix}{name}" for name in TOPICS])
    raws = [
        Raw(
            one.topic.removeprefix(world.prefix),
            one.partition,
            one.key,
            one.value,
            tuple(one.headers),
            one.timestamp,
        )
        for one in found
    ]
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka, acks="all")
    async with producer:
        for one in change(raws):
            await producer.send(
                f"{prefix}{one.topic}",
                one.value,
                key=one.key,
                partition=one.part,
                headers=list(one.headers),
                timestamp_ms=one.at_ms,
            )
        await producer.flush()
    for service in OWNERS if committed else ():
        await _commit_all(world.kafka, prefix, service)


async def _commit_all(kafka: str, prefix: str, service: str) -> None:
    group = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=f"{prefix}{service}", enable_auto_commit=False)
    async with group:
        places = [TopicPartition(f"{prefix}{name}", part) for name in heard_by(service) for part in range(12)]
        group.assign(places)
        await group.commit(await group.end_offsets(places))


def of(raws: list[Raw], topic: str) -> Raw:
    return next(one for one in raws if one.topic == topic)


def copied(raws: list[Raw]) -> list[Raw]:
    return raws + raws


def lost(raws: list[Raw]) -> list[Raw]:
    return [one for one in raws if one is not of(raws, "item.shipped")]


def superseded(raws: list[Raw]) -> list[Raw]:
    """Compaction: of each key only the last state stays."""
    last = {(one.topic, one.key): one for one in raws}
    return [one for one in raws if one.topic != "order.state" or last[one.topic, one.key] is one]


def copied_wrongly(raws: list[Raw]) -> list[Raw]:
    first = of(raws, "payment.verified")
    return [*raws, replace(first, value=(first.value or b"") + b" ")]


def invented(raws: list[Raw]) -> list[Raw]:
    return [*raws, of(raws, "payment.verified").saying("ce_id", str(uuid4()).encode())]


def told_by_a_stranger(raws: list[Raw]) -> list[Raw]:
    """An event that was told on one topic turns up on another, and nowhere else."""
    moved = of(raws, "order.delivered")
    return [replace(one, topic="stock.released") if one is moved else one for one in raws]


def reordered(raws: list[Raw]) -> list[Raw]:
    """Two states of one order change places."""
    told = Counter(one.key for one in raws if one.topic == "order.state")
    ((key, _),) = told.most_common(1)
    places = [n for n, one in enumerate(raws) if (one.topic, one.key) == ("order.state", key)]
    changed = list(raws)
    changed[places[0]], changed[places[-1]] = changed[places[-1]], changed[places[0]]
    return changed


def renumbered(raws: list[Raw]) -> list[Raw]:
    one = of(raws, "order.delivered")
    return [other.saying("ce_sequence", b"99") if other is one else other for other in raws]


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (copied, []),
        (superseded, []),
        (lost, ["EVT-1"]),
        (copied_wrongly, ["EVT-4"]),
        (invented, ["MON-8", "EVT-2", "EVT-3", "EVT-5"]),
        (told_by_a_stranger, ["STK-4", "EVT-1", "EVT-2"]),
        (reordered, ["EVT-3"]),
        (renumbered, ["EVT-1", "EVT-3"]),
    ],
)
async def test_a_changed_topic_is_found(
    world: LivedIn, audited: Audit, topics: MakeTopics, change: Change, broken: list[str]
) -> None:
    prefix = await topics()
    await told_again(world, prefix, change)
    report = await audited(topic_prefix=prefix, wait_quiet_s=20 if not broken else 0)
    assert report.broken == broken, report.as_json()
    assert report.moving == ()


async def test_records_nobody_has_read_yet_are_not_quiet(
    world: LivedIn, audited: Audit, topics: MakeTopics
) -> None:
    prefix = await topics()
    await told_again(world, prefix, list, committed=False)
    report = await audited(topic_prefix=prefix)
    assert report.broken == []
    assert len(report.moving) == len(OWNERS)
    assert all("records are unread" in one for one in report.moving)
    assert not report.ok


NOT_UTF_8 = b"\xff\xfe\x00"
STRANGE = [
    Raw("payment.verified", 0, None, b"nobody's", (), 1),
    Raw("payment.verified", 0, b"tombstone", None, (), 1),
    Raw("payment.verified", 0, b"", b"", (), 1),
    Raw("payment.verified", 0, NOT_UTF_8, NOT_UTF_8, (("ce_id", NOT_UTF_8), ("ce_type", None)), 1),
    Raw("payment.verified", 0, b"k", b"[1, 2]", (("ce_id", b"7"), ("ce_sequence", b"-1")), 1),
    Raw("payment.verified", 0, b"k", b'{"payment_id": NaN}', (("ce_id", None), ("ce_id", b"")), 1),
    Raw("item.cancelled", 1, b"k", b"[" * 100_000, (("ce_sequence", b"9" * 5000),), 1),
    Raw("order.state", 2, b"k", None, (("ce_correlationid", b"{}"), ("reply_to", b"x")), 1),
]


async def test_strange_records_are_read_and_reported(
    world: LivedIn, audited: Audit, topics: MakeTopics
) -> None:
    prefix = await topics()
    of_today = [replace(one, at_ms=time.time_ns() // 1_000_000) for one in STRANGE]
    await told_again(world, prefix, lambda raws: [*raws, *of_today])
    report = await audited(topic_prefix=prefix)
    assert report.broken == ["EVT-2", "EVT-5"], report.as_json()
    assert report.finding("EVT-2").count == len(STRANGE)
    assert (
        report.finding("EVT-5").count == len(STRANGE) - 1 + 2
    )  # order.state is heard by nobody, item.cancelled by three
