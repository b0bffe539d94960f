"""Whether a consumer still moves: how long each partition has stood still with something left to read."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition

STUCK_S = 60.0
"""Longer than a single try of a batch takes; one that fails is a sign of life."""
LOOKED_WITHIN_S = 10.0
"""Looks further apart say nothing of the time between them: the process was frozen, or could not see."""


@dataclass(slots=True)
class Progress:
    """What was seen at the last looks; all times are those of one monotonic clock, in seconds."""

    moved: dict[TopicPartition, tuple[int, float]] = field(default_factory=dict)
    """Each partition's position, and when it was last seen to move or to have nothing left to read."""
    looked_at: float = float("-inf")
    alive_at: float = float("-inf")

    def note_life(self, now: float) -> None:
        """A batch has failed and is tried again: reading works, and what is read is not taken."""
        self.alive_at = now

    def is_stuck(self, places: Iterable[tuple[TopicPartition, int | None, int]], now: float) -> bool:
        """Whether some of these partitions (with their end and our position) should have moved for long.

        A batch that failed lately is a sign of life: a new process would not bring its database back. Given
        up, it sets the position back and forward again between two looks. One that takes effect is none:
        another partition may hang beside it.
        """
        seen = self.moved if now - self.looked_at <= LOOKED_WITHIN_S else {}
        self.moved, self.looked_at = {}, now
        waiting = False
        for partition, end, position in places:
            at, since = seen.get(partition, (position, now))
            behind = end is not None and end > position
            still = since if behind and at == position else now
            self.moved[partition] = (position, still)
            waiting |= now - still > STUCK_S
        return waiting and now - self.alive_at > STUCK_S
