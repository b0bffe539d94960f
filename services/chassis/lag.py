"""How far the service's group is behind, by time: asked of the broker, so a dead consumer is visible too.

What the broker does not say is not shown: neither a topic that is not there, nor a group still being loaded.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from services.chassis.committed import committed
from services.chassis.gauges import MEASURED, refill
from services.chassis.listener import Place

LOG = structlog.get_logger("lag")
LOOK_EVERY_S: Final = 10.0
LOOK_S: Final = 15.0
"""A look that takes longer is given up; the clients are made anew for the next one."""
STOP_S: Final = 2.0
AGES_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 86_400, 604_800)
"""How late is told in these steps, rounded up: the broker finds a time without sending a record."""
LATER_S: Final = 30 * 86_400

Late: TypeAlias = tuple[int, float]
"""Records nobody took, and how many seconds ago the oldest was told (a step of `AGES_S`)."""

LAG_SECONDS: Final = Gauge(
    "kb_consumer_lag_seconds", "Age of the oldest event not taken, rounded up to a step.", ["topic"]
)
LAG_RECORDS: Final = Gauge("kb_consumer_lag_records", "Events told and not taken.", ["topic"])


async def keep_looking(place: Place, service: str, topics: Sequence[str]) -> None:
    """Measure for ever; while not all can be seen, `kb_measured_timestamp_seconds` stands still."""
    while True:
        try:
            await _look_on(place, service, topics)
        except (KafkaError, OSError, TimeoutError) as error:
            LOG.info("cannot measure the lag", service=service, error=repr(error)[:300])
        await asyncio.sleep(LOOK_EVERY_S)


async def _look_on(place: Place, service: str, topics: Sequence[str]) -> None:
    """Look again and again with the same connections, until one of them raises."""
    admin = AIOKafkaAdminClient(bootstrap_servers=place.kafka, client_id=f"{place.instance}.lag")
    client = AIOKafkaConsumer(bootstrap_servers=place.kafka, client_id=f"{place.instance}.lag")
    try:
        async with asyncio.timeout(LOOK_S):
            await admin.start()
            await client.start()
        while True:
            async with asyncio.timeout(LOOK_S):
                found = await unread(place, service, topics, admin, client)
            if show(found, topics):
                MEASURED.labels("lag").set_to_current_time()
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await client.stop()
                await admin.close()


async def unread(
    place: Place,
    service: str,
    topics: Sequence[str],
    admin: AIOKafkaAdminClient,
    client: AIOKafkaConsumer,
) -> dict[str, Late]:
    """How late the group is on each of these topics that the broker has."""
    partitions = await _partitions(place, topics, admin)
    ends = await client.end_offsets(partitions) if partitions else {}
    at = await committed(admin, f"{place.prefix}{service}", partitions)
    behind = [tp for tp, end in ends.items() if at.get(tp, 0) < end]
    first = await client.beginning_offsets(behind) if behind else {}
    # What retention has taken cannot be read any more.
    next_ones = {tp: max(at.get(tp, 0), first[tp]) for tp in behind if first[tp] < ends[tp]}
    ages = await _ages(client, next_ones)
    found: dict[str, Late] = dict.fromkeys(partitions.values(), (0, 0.0))
    for tp, offset in next_ones.items():
        records, age_s = found[partitions[tp]]
        found[partitions[tp]] = records + ends[tp] - offset, max(age_s, ages[tp])
    return found


async def _partitions(
    place: Place, topics: Sequence[str], admin: AIOKafkaAdminClient
) -> dict[TopicPartition, str]:
    """Each partition of these topics, with the topic's name as we call it."""
    described = await admin.describe_topics([f"{place.prefix}{topic}" for topic in topics])
    return {
        TopicPartition(one["topic"], p["partition"]): one["topic"].removeprefix(place.prefix)
        for one in described
        for p in one["partitions"]
    }


async def _ages(
    client: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]
) -> dict[TopicPartition, float]:
    """How old the record at each of these offsets is at most."""
    ages: dict[TopicPartition, float] = dict.fromkeys(offsets, LATER_S)
    left, now_ms = set(offsets), time.time_ns() // 1_000_000
    for age_s in AGES_S:
        if not left:
            break
        younger = await client.offsets_for_times(dict.fromkeys(left, now_ms - 1000 * age_s))
        found = {tp for tp, first in younger.items() if first is not None and first.offset <= offsets[tp]}
        ages |= dict.fromkeys(found, float(age_s))
        left -= found
    return ages


def show(found: Mapping[str, Late], topics: Sequence[str]) -> bool:
    """Set the gauges of the topics that could be seen, and no others; returns whether those were all."""
    refill(LAG_RECORDS, {(topic,): records for topic, (records, _) in found.items()})
    refill(LAG_SECONDS, {(topic,): age_s for topic, (_, age_s) in found.items()})
    missing = [topic for topic in topics if topic not in found]
    if missing:
        LOG.error("topics missing", topics=missing)
    return not missing
