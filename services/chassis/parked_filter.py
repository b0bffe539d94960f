"""Which parked records are meant: by state, topic, failure, key and the time of the first failure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is given must fit; None fits everything."""

    states: Sequence[str]
    topic: str | None = None
    failure: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def arguments(self) -> tuple[object, ...]:
        """In the order in which the statements take them."""
        return (list(self.states), self.topic, self.failure, self.key, self.since, self.until)

    @property
    def is_everything(self) -> bool:
        """Whether nothing but the state is asked for."""
        return all(one is None for one in self.arguments[1:])
