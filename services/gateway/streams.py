"""How many live streams one person may hold open at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from services.chassis.errors import Problem


class Streams:
    """Open streams by subject."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[UUID] = Counter()

    def open_of(self, subject: UUID) -> int:
        """How many this person has open."""
        return self._open[subject]

    @contextmanager
    def one_of(self, subject: UUID) -> Iterator[None]:
        """Hold one place; raises 429 `TOO_MANY_STREAMS`."""
        if self._open[subject] >= self._most:
            raise Problem(
                429, "TOO_MANY_STREAMS", f"At most {self._most} at once.", headers={"Retry-After": "5"}
            )
        self._open[subject] += 1
        try:
            yield
        finally:
            self._open[subject] -= 1
            if not self._open[subject]:
                del self._open[subject]
