"""The consumer: which function hears which event of one service, and the loop that feeds them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from contracts.event import Event
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts

E = TypeVar("E", bound=Event)
Handler = Callable[[Tx, Sequence[E]], Awaitable[Verdicts[Any]]]


@dataclass(frozen=True, slots=True)
class Subscription(Generic[E]):
    """One topic of one service: the class its records are read as, and the function that hears them."""

    event: type[E]
    handler: Handler[E]


class Consumer:
    """What one service hears: one Kafka consumer reads all its topics, each under its own number."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.subscriptions: dict[str, Subscription[Any]] = {}

    def on(self, event: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        """Register the handler of one topic; it takes what has arrived together, in order."""

        def register(handler: Handler[E]) -> Handler[E]:
            self.subscriptions[event.TOPIC] = Subscription(event, handler)
            return handler

        return register
