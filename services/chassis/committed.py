"""How far a group has read, as the broker says it; what it does not say is unknown, and never the beginning.

A coordinator that has just moved, or that still loads what it knew, answers with an error beside an empty
list, and the client gives the list alone: so every partition is asked for by name, and must be in it.
"""

from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError


class UnsaidError(KafkaError):  # type: ignore[misc]
    """The broker did not say how far the group has read; it may a little later."""


async def committed(
    admin: AIOKafkaAdminClient, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """The offset of the next record to take, of each of these partitions where it has committed anything.

    Raises UnsaidError, and whatever else of KafkaError the client does.
    """
    if not partitions:
        return {}
    said = await admin.list_consumer_group_offsets(group, partitions=list(partitions))
    if unsaid := set(partitions) - said.keys():
        raise UnsaidError(f"how far {group} is on {len(unsaid)} partitions: its coordinator does not say yet")
    return {place: one.offset for place, one in said.items() if one.offset >= 0}
