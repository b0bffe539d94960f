"""What the broker says: whether it answers, topics against their contracts, groups and how late they are."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.topics import TOPICS, Topic
from infra.databases import SERVICES
from infra.doctor.findings import Finding, Patient
from infra.find.events import hearers
from infra.topic_reading import Topics

OLDEST_UNREAD_S: Final = 60.0
FETCH_MS: Final = 2_000
TRIES: Final = 5
MOST_NAMED: Final = 5


async def broker(patient: Patient) -> list[Finding]:
    """Whether it can be reached at all."""
    if patient.topics is not None:
        return []
    reason = patient.asked.silent.get("kafka", "it was not asked")
    return [Finding(f"the broker cannot be asked: {reason}", "is Kafka up, is the address right (KB_KAFKA)?")]


async def contracts(patient: Patient) -> list[Finding]:
    """Topics that are missing, or that have other partitions or another cleanup than the contracts say."""
    there = patient.topics
    assert there is not None
    missing = [topic.name for topic in TOPICS if topic.name not in there.partitions]
    found = [Finding(f"topics are missing: {', '.join(missing)}", MAKE)] if missing else []
    present = [topic for topic in TOPICS if topic.name in there.partitions]
    found += [one for topic in present for one in _partitions(topic, len(there.partitions[topic.name]))]
    cleanups = await _cleanups(there, [topic.name for topic in present])
    found += [
        Finding(
            f"{topic.name} is cleaned up by `{cleanups[topic.name]}`, the contract says `{topic.cleanup}`",
            "set cleanup.policy of the topic; what a wrong policy removed, `kb events replay` can bring back",
        )
        for topic in present
        if cleanups.get(topic.name, topic.cleanup) != topic.cleanup
    ]
    return found


MAKE: Final = "`python -m infra.deploy provision` creates them (a stack does it at its start)"


def _partitions(topic: Topic, count: int) -> Iterator[Finding]:
    if count != topic.partitions:
        yield Finding(
            f"{topic.name} has {count} partitions, the contract says {topic.partitions}",
            "keys are in other places than before: make the topic anew, then replay what it should have",
        )


async def _cleanups(there: Topics, names: list[str]) -> dict[str, str]:
    """The cleanup policy of each of these topics, as the broker has it."""
    asked = [
        ConfigResource(ConfigResourceType.TOPIC, there.prefix + name, {"cleanup.policy": ""})
        for name in names
    ]
    answers = await there.admin.describe_configs(asked) if asked else []
    return {
        resource[3].removeprefix(there.prefix): setting[1]
        for answer in answers
        for resource in answer.resources
        for setting in resource[4]
        if setting[0] == "cleanup.policy"
    }


async def groups(patient: Patient) -> list[Finding]:
    """Services that nobody reads for."""
    there = patient.topics
    assert there is not None
    names = {f"{there.prefix}{service}": service for service in SERVICES}
    # One a question: the client reads answers of the broker's version about several groups wrongly.
    answers = [one for name in names for one in await there.admin.describe_consumer_groups([name])]
    members = {group[1]: len(group[5]) for answer in answers for group in answer.groups}
    return [
        Finding(f"nobody reads for {service}: its group has no member", f"is {service} running? Start it")
        for name, service in names.items()
        if not members.get(name)
    ]


async def lag(patient: Patient) -> list[Finding]:
    """Records that a service should have read by now, by the time the oldest of them carries."""
    there, found = patient.topics, list[Finding]()
    assert there is not None
    for service in SERVICES:
        places = there.chosen(name for name in there.partitions if service in hearers(name))
        committed, ends = await there.committed(service), await there.ends(places)
        begins = await there.consumer.beginning_offsets(places) if places else {}
        read_to = {one: max(begins[one], committed.get(one, 0)) for one in places}
        behind = {one: ends[one] - read_to[one] for one in places if ends[one] > read_to[one]}
        ages = await _ages(there, {one: read_to[one] for one in behind})
        late = {one: age for one, age in ages.items() if age > OLDEST_UNREAD_S}
        if late:
            found.append(_late(service, late, sum(behind[one] for one in late), there.prefix))
    return found


def _late(service: str, late: Mapping[TopicPartition, float], count: int, prefix: str) -> Finding:
    named = [f"{one.topic.removeprefix(prefix)}[{one.partition}]" for one in sorted(late)]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return Finding(
        f"{service} has yet to read {count} records, the oldest {max(late.values()):.0f} s old, of "
        f"{', '.join(named[:MOST_NAMED])}{more}",
        f"is {service} running, does its log say that batches fail (`consumer`) or what it waits for?",
    )


async def _ages(there: Topics, read_to: Mapping[TopicPartition, int]) -> dict[TopicPartition, float]:
    """How old the first unread record of each partition is, in seconds, as far as it can be had soon."""
    ages: dict[TopicPartition, float] = {}
    if not read_to:
        return ages
    there.consumer.assign(list(read_to))
    for one, offset in read_to.items():
        there.consumer.seek(one, offset)
    now_ms = datetime.now(UTC).timestamp() * 1000
    for _ in range(TRIES):
        missing = [one for one in read_to if one not in ages]
        if not missing:
            break
        batches: Mapping[TopicPartition, list[Any]]
        batches = await there.consumer.getmany(*missing, timeout_ms=FETCH_MS, max_records=len(missing))
        ages |= {one: (now_ms - records[0].timestamp) / 1000 for one, records in batches.items() if records}
    return ages
