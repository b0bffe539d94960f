"""The topics as the saga has them: who tells, who hears, and the numbers their inboxes know them by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SERVICES: Final = ("orders", "inventory", "payments")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; of a compacted one only the latest record of each key must be there."""

    number: int
    owner: str
    heard_by: tuple[str, ...] = ()
    compacted: bool = False


TOPICS: Final = {
    "order.placed": Topic(1, "orders", ("inventory",)),
    "order.expired": Topic(2, "orders", ("inventory",)),
    "order.revived": Topic(3, "orders", ("inventory",)),
    "order.finalized": Topic(4, "orders", ("inventory", "payments")),
    "order.cancelled": Topic(5, "orders", ("inventory", "payments")),
    "order.delivered": Topic(6, "orders"),
    "item.shipped": Topic(7, "orders", ("orders", "inventory")),
    "item.fulfilled": Topic(8, "orders", ("orders", "inventory", "payments")),
    "item.cancelled": Topic(9, "orders", ("orders", "inventory", "payments")),
    "order.state": Topic(10, "orders", compacted=True),
    "stock.reserved": Topic(20, "inventory", ("orders", "payments")),
    "stock.rejected": Topic(21, "inventory", ("orders",)),
    "stock.released": Topic(22, "inventory"),
    "payment.opened": Topic(30, "payments", ("orders",)),
    "payment.returned": Topic(31, "payments", ("orders",)),
    "payment.declined": Topic(32, "payments", ("orders",)),
    "payment.verified": Topic(33, "payments", ("orders",)),
    "payment.failed": Topic(34, "payments", ("orders",)),
    "payment.held": Topic(35, "payments", ("orders",)),
    "payment.refunded": Topic(36, "payments", ("orders",)),
}

PUBLIC: Final = re.compile(r"[a-z_]+\.[a-z_]+(\.v\d+)?")
"""How a public topic is named: noun and past participle."""


def consumer_number(service: str, topic: str) -> int:
    """The number of the pair in inboxes and parked records."""
    return 1000 * (SERVICES.index(service) + 1) + TOPICS[topic].number


def of_this_installation(names: Iterable[str], prefix: str) -> dict[str, str]:
    """The public topics among the broker's: full name -> name. Whoever made them, their records are read."""
    own = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return {full: name for full, name in own.items() if PUBLIC.fullmatch(name)}


def heard_by(service: str) -> list[str]:
    return [name for name, topic in TOPICS.items() if service in topic.heard_by]
