"""Everything a topic holds, as it lies there."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition


async def read_all(kafka: str, topics: Sequence[str]) -> list[ConsumerRecord]:
    """All records up to the ends as they are now, per partition in offset order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [
            TopicPartition(topic, part)
            for topic in topics
            for part in sorted(await _partitions(consumer, topic))
        ]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: list[ConsumerRecord] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    finally:
        await consumer.stop()
    return found


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001 - nothing public waits for an unassigned topic
    return set(consumer.partitions_for_topic(topic) or ())
