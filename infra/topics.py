"""Creates the topics that the contracts declare, and refuses to live with one that differs."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from contracts.topics import TOPICS, Topic

REQUEST_TIMEOUT_MS = 30_000
USABLE_WITHIN_S = 30.0


class TopicDiffersError(RuntimeError):
    """A topic exists with another number of partitions; keys would land elsewhere than before."""


async def create(bootstrap: str, topics: Iterable[Topic] = TOPICS, *, prefix: str = "") -> list[str]:
    """Creates those that are missing, waits until all can be used, and returns the names of the new ones."""
    wanted = {prefix + topic.name: topic for topic in topics}
    async with _administrator(bootstrap) as admin:
        existing = await _usable(admin, wanted)
        _refuse_differences(wanted, existing)
        missing = [name for name in wanted if name not in existing]
        created = (
            await _create(admin, [_new_topic(name, wanted[name]) for name in missing]) if missing else []
        )
        _refuse_differences(wanted, await _all_usable(admin, wanted))
    return created


async def delete(bootstrap: str, names: list[str]) -> None:
    """Deletes topics with everything in them."""
    async with _administrator(bootstrap) as admin:
        await admin.delete_topics(names, timeout_ms=REQUEST_TIMEOUT_MS)


async def _all_usable(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, int]:
    """Partition counts once all topics are there: a node hears of a new one just after the controller."""
    async with asyncio.timeout(USABLE_WITHIN_S):
        while len(usable := await _usable(admin, names)) < len(names):  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.01)
    return usable


async def _usable(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, int]:
    """The partition count of each topic that exists and whose partitions all have a leader."""
    present = sorted(set(names) & set(await admin.list_topics()))
    described = await admin.describe_topics(present) if present else []
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == 0 and all(part["leader"] >= 0 for part in topic["partitions"])
    }


def _refuse_differences(wanted: dict[str, Topic], existing: dict[str, int]) -> None:
    different = [
        f"{name} has {count} partitions, declared are {wanted[name].partitions}"
        for name, count in existing.items()
        if count != wanted[name].partitions
    ]
    if different:
        raise TopicDiffersError("; ".join(different))


async def _create(admin: AIOKafkaAdminClient, new: list[NewTopic]) -> list[str]:
    """The names of those that this call created; another copy of this step may have been faster."""
    answer = await admin.create_topics(new, timeout_ms=REQUEST_TIMEOUT_MS)
    codes = {name: code for name, code, *_ in answer.topic_errors}
    for name, code in codes.items():
        if code not in (NoError.errno, TopicAlreadyExistsError.errno):
            raise for_code(code)(name)
    return [name for name, code in codes.items() if code == NoError.errno]


def _new_topic(name: str, topic: Topic) -> NewTopic:
    settings = {"cleanup.policy": topic.cleanup, "retention.ms": str(topic.retention_ms)}
    return NewTopic(name, topic.partitions, replication_factor=1, topic_configs=settings)


@asynccontextmanager
async def _administrator(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
