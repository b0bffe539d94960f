"""Whether a consumer still moves: how long each partition has stood still with something left to read."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition

STUCK_S = 120.0
"""Longer than a batch may take that is tried again and again while the database is away."""


@dataclass(slots=True)
class Progress:
    """What was seen at the last looks; all times are those of one monotonic clock, in seconds."""

    moved: dict[TopicPartition, tuple[int, float]] = field(default_factory=dict)
    failed_at: float = float("-inf")

    def note_failure(self, now: float) -> None:
        """A batch was given up and will be read again: reading works, and what is read is not taken."""
        self.failed_at = now

    def is_stuck(self, places: Iterable[tuple[TopicPartition, int | None, int]], now: float) -> bool:
        """Whether some of these partitions (with their end and our position) should have moved for long.

        A batch that failed lately is a sign of life: the position is set back and forward again between two
        looks, and a new process would not bring the database back.
        """
        seen, self.moved = self.moved, {}
        waiting = False
        for partition, end, position in places:
            at, since = seen.get(partition, (position, now))
            self.moved[partition] = (position, since if at == position else now)
            behind = end is not None and end > position
            waiting |= behind and now - self.moved[partition][1] > STUCK_S
        return waiting and now - self.failed_at > STUCK_S
