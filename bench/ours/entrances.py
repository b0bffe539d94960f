"""How the load enters a service: at the action that a request or the gateway's answer would call."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from bench import catalogue
from bench.ours.watching import Batch
from bench.wire import End, clock
from contracts.event import Envelope
from contracts.orders import OrderFinalized
from contracts.payments import PaymentOpened
from services.chassis.app import Runtime, Worker
from services.chassis.db import Tx
from services.chassis.ids import new_id
from services.chassis.telemetry import TRACER, current_traceparent

ADDRESS: Final = bytes(180)
"""As long as a sealed address; what is in it costs the same."""
PAY_WITHIN_S: Final = 900

if TYPE_CHECKING:
    from services.payments.providers import Answer

I = TypeVar("I")  # noqa: E741 - an item


class Taken(Generic[I]):
    """What waits to enter: taken as it is there, at most `most` at once, never waited for."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[I] = deque()
        self._there = asyncio.Event()

    def add(self, items: Sequence[I]) -> None:
        """More has come."""
        self._waiting.extend(items)
        self._there.set()

    async def feed(
        self, runtime: Runtime, action: Callable[[Tx, list[I]], Awaitable[None]], sizes: list[int]
    ) -> None:
        """One transaction after the other, until the process stops."""
        while await self._some(runtime.stopping):
            items = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            async with runtime.db.transaction() as tx:
                await action(tx, items)
            sizes.append(len(items))

    async def _some(self, stopping: asyncio.Event) -> bool:
        while not self._waiting and not stopping.is_set():
            self._there.clear()
            ends = asyncio.create_task(stopping.wait())
            comes = asyncio.create_task(self._there.wait())
            await asyncio.wait((ends, comes), return_when=asyncio.FIRST_COMPLETED)
            ends.cancel()
            comes.cancel()
        return bool(self._waiting)


class Entrance:
    """A service nobody enters but by events."""

    def __init__(self) -> None:
        self.fills: dict[str, list[int]] = {}

    def workers(self) -> Sequence[Worker]:
        """What runs in the service's process for it."""
        return ()

    def place(self, numbers: Sequence[int]) -> None:
        """Orders to be placed."""
        raise NotImplementedError

    def committed(self, batch: Batch) -> None:
        """A batch took effect."""


class Checkouts(Entrance):
    """Orders, entered at the checkout action, requests in flight sharing a transaction as at the door."""

    def __init__(self, end: End, most: int) -> None:
        self.end = end
        self.taken: Taken[int] = Taken(most)
        self.fills = {"place": []}

    def workers(self) -> Sequence[Worker]:
        return (self.place_orders,)

    def place(self, numbers: Sequence[int]) -> None:
        self.taken.add(numbers)

    async def place_orders(self, runtime: Runtime) -> None:
        """The worker: checkouts, batch after batch."""
        await self.taken.feed(runtime, self._place, self.fills["place"])

    async def _place(self, tx: Tx, numbers: list[int]) -> None:
        from services.orders.actions.checkout import place_checkouts  # noqa: PLC0415 - only orders' own process pays for it
        from services.orders.domain import PlaceCheckout  # noqa: PLC0415

        commands = [
            PlaceCheckout(
                order_id=new_id(),
                customer_id=catalogue.customer(number),
                method="esewa",
                pay_within_s=PAY_WITHIN_S,
                address=ADDRESS,
                envelope=_as_from_a_request(),
            )
            for number in numbers
        ]
        verdicts = await place_checkouts(tx, commands)
        assert len(verdicts.changed) == len(commands), verdicts.outcomes

    def committed(self, batch: Batch) -> None:
        told = (one.event for one in batch.verdicts.told)
        numbers = [catalogue.number_of(one.customer_id) for one in told if isinstance(one, OrderFinalized)]
        if numbers:
            self.end.send({"finalized": numbers, "at": clock()})


def _as_from_a_request() -> Envelope:
    """What a request at the door would bring along: its span, if traces are recorded."""
    with TRACER.start_as_current_span("POST /v1/checkouts"):
        return Envelope(traceparent=current_traceparent())


class Answers(Entrance):
    """Payments: every opened attempt is answered by the gateway at once, at the settle action."""

    def __init__(self, most: int) -> None:
        self.taken: Taken[PaymentOpened] = Taken(most)
        self.fills = {"settle": []}

    def workers(self) -> Sequence[Worker]:
        return (self.settle_attempts,)

    async def settle_attempts(self, runtime: Runtime) -> None:
        """The worker: answers, batch after batch."""
        await self.taken.feed(runtime, self._settle, self.fills["settle"])

    async def _settle(self, tx: Tx, opened: list[PaymentOpened]) -> None:
        from services.payments import gateways  # noqa: PLC0415 - only payments' own process pays for it
        from services.payments.actions.settling import seen, settle  # noqa: PLC0415

        answers = [seen(one.subject_id, one.attempt_id, one.provider, _paid(one)) for one in opened]
        verdicts = await settle(tx, answers, gateways.in_use().plan)
        assert len(verdicts.told) >= len(opened), verdicts.outcomes

    def committed(self, batch: Batch) -> None:
        self.taken.add([one.event for one in batch.verdicts.told if type(one.event) is PaymentOpened])


def _paid(opened: PaymentOpened) -> "Answer":
    from services.payments.providers import Answer  # noqa: PLC0415 - only payments' own process pays for it
    from services.payments.verdicts import Paid  # noqa: PLC0415

    reference = opened.attempt_id.hex
    body = catalogue.gateway_answer(reference, opened.amount_paisa)
    return Answer(Paid(opened.amount_paisa, reference), 200, body, body.encode())


def of(service: str, end: End, most: int) -> Entrance:
    """The entrance of this service; `most` is the largest batch."""
    match service:
        case "orders":
            return Checkouts(end, most)
        case "payments":
            return Answers(most)
        case _:
            return Entrance()
