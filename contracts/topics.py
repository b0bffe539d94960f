"""Every topic as data: who tells it, how it is kept, and the class of its events."""

from dataclasses import dataclass
from typing import Final, Literal

from contracts import inventory, orders, payments
from contracts.event import Event

PARTITIONS: Final = 12
"""Of every keyed topic, for ever: a changed count would break the order of a key."""

DAY_MS: Final = 24 * 3600 * 1000

SERVICES: Final = ("orders", "inventory", "payments", "bookings", "notifications")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it is provisioned; `retention_ms` -1 keeps the latest record of each key for ever.

    `number` names the topic in inboxes and parked records: given once, never reused.
    """

    number: int
    owner: str
    event: type[Event]
    partitions: int = PARTITIONS
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = 30 * DAY_MS

    @property
    def name(self) -> str:
        """The topic's name, as its event class says it."""
        return self.event.TOPIC


TOPICS: Final[tuple[Topic, ...]] = (
    Topic(1, "orders", orders.OrderPlaced),
    Topic(2, "orders", orders.OrderExpired),
    Topic(3, "orders", orders.OrderRevived),
    Topic(4, "orders", orders.OrderFinalized),
    Topic(5, "orders", orders.OrderCancelled),
    Topic(6, "orders", orders.OrderDelivered),
    Topic(7, "orders", orders.ItemShipped),
    Topic(8, "orders", orders.ItemFulfilled),
    Topic(9, "orders", orders.ItemCancelled),
    Topic(10, "orders", orders.OrderState, cleanup="compact", retention_ms=-1),
    Topic(20, "inventory", inventory.StockReserved),
    Topic(21, "inventory", inventory.StockRejected),
    Topic(22, "inventory", inventory.StockReleased),
    Topic(30, "payments", payments.PaymentOpened),
    Topic(31, "payments", payments.PaymentReturned),
    Topic(32, "payments", payments.PaymentDeclined),
    Topic(33, "payments", payments.PaymentVerified),
    Topic(34, "payments", payments.PaymentFailed),
    Topic(35, "payments", payments.PaymentHeld),
    Topic(36, "payments", payments.PaymentRefunded),
)

BY_NAME: Final[dict[str, Topic]] = {topic.name: topic for topic in TOPICS}


def consumer_number(service: str, topic: str) -> int:
    """The number of the pair (service, topic) in inboxes, blocks and parked records (a smallint)."""
    return 1000 * (SERVICES.index(service) + 1) + BY_NAME[topic].number
