"""Every request the gateway face received, the newest hundred thousand of them."""

import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

KEEP = 100_000


class Entry(NamedTuple):
    """One request as it arrived; `fault` names what was done to its answer."""

    number: int
    at: float
    operation: str
    reference: str
    total_amount: str
    product_code: str
    fault: str | None


class RequestLog:
    def __init__(self, keep: int = KEEP) -> None:
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._count = 0

    def add(
        self,
        operation: str,
        *,
        reference: str,
        total_amount: str = "",
        product_code: str = "",
        fault: str | None = None,
    ) -> None:
        self._count += 1
        entry = Entry(self._count, time.time(), operation, reference, total_amount, product_code, fault)
        self._entries.append(entry)

    def entries(
        self, *, after: int = 0, operation: str | None = None, reference: str | None = None
    ) -> Iterator[Entry]:
        return (
            entry
            for entry in self._entries
            if entry.number > after
            and operation in (None, entry.operation)
            and reference in (None, entry.reference)
        )

    def clear(self) -> None:
        self._entries.clear()
