"""One past order again: cart, checkout, payment, and every item to where the history left it."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import httpx2

from infra.people import Api, ApiError, Customer, TokenMaker, Vendor
from infra.replay.history import PastOrder
from infra.replay.journal import Journal, Placed
from tests.fakes.esewa import RefusedError, Simulator

T = TypeVar("T")
PATIENCE_S: Final = 120.0
"""A service that was killed comes back within seconds; what is not there after this long will not come."""

STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "processing": ("processing",),
    "shipped": ("processing", "shipped"),
    "delivered": ("processing", "shipped", "delivered"),
    "cancelled": ("cancelled",),
}
BUSY: Final = frozenset({"IDEMPOTENCY_KEY_IN_FLIGHT", "CONCURRENT_UPDATE"})
ENDED: Final = frozenset({"rejected", "payment_failed", "cancelled", "refund_pending", "refunded"})
"""Where no order comes from; `expired` is not among them, for money that comes late revives it."""
REVIVABLE: Final = frozenset({"expired", "payment_failed"})
UNPAID: Final = frozenset({"expired"})


class ReplayError(RuntimeError):
    """An order did not go the way the history says; the message says where it is."""


@dataclass(slots=True)
class Player:
    """Plays orders against one installation; every step is safe to repeat.

    `again` are the stages after which an order is placed once more, `patience_s` how long a step may take:
    an installation that is broken on purpose needs more of both.
    """

    api: Api
    make_token: TokenMaker
    esewa: Simulator
    journal: Journal
    again: frozenset[str] = UNPAID
    patience_s: float = PATIENCE_S
    carts: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """One per customer: who has several orders places them one after the other, in the history's order."""

    async def play(self, past: PastOrder) -> None:
        """From wherever an earlier run left it to the end the history tells of."""
        placed = self.journal.placed.get(past.id)
        if placed is not None and placed.done:
            return
        customer = Customer(self.api, self.make_token, subject=UUID(past.customer))
        placed = await self._paid(past, placed, customer)
        await self._move(past, placed, customer)
        placed.done = True
        self.journal.note(past.id, placed)

    async def _paid(self, past: PastOrder, placed: Placed | None, customer: Customer) -> Placed:
        """The order confirmed; one whose checkout ended unpaid during an interruption is placed once more."""
        while True:
            if placed is None or await self._pay(past, placed, customer) != "confirmed":
                async with self.carts[past.customer]:
                    placed = Placed(await self._place(past, customer, after=placed))
                    self.journal.note(past.id, placed)
            else:
                return placed

    async def _place(self, past: PastOrder, customer: Customer, *, after: Placed | None) -> str:
        """The checkout of this order; one that an interrupted run has placed is found again.

        Only the customer's latest can be unknown to the journal, for it is noted before the next is placed.
        """
        ours = {placed.checkout_id for placed in self.journal.placed.values()}
        ours |= self.journal.given_up
        page = await self._sure(lambda: customer.call("GET", "/v1/orders"))
        for known in page["data"]:
            if known["id"] not in ours:
                return str(known["id"])
        for goods, quantity in past.wanted.items():
            await self._sure(partial(customer.wants, goods.sku, quantity))
        key = str(uuid5(NAMESPACE_OID, past.id if after is None else f"{past.id} {after.checkout_id}"))
        checkout = await self._sure(lambda: customer.check_out(key=key))
        return str(checkout["id"])

    async def _pay(self, past: PastOrder, placed: Placed, customer: Customer) -> str:
        """The stage it ended in: `confirmed`, or one after which it is placed again; any other raises."""
        until, paid = monotonic() + self.patience_s, False
        while True:
            checkout = await self._sure(lambda: customer.checkout(placed.checkout_id))
            stage = str(checkout["stage"])
            if stage == "confirmed" or await self._is_over(stage, placed):
                return stage
            if stage in ENDED - self.again or monotonic() > until:
                where = f"its checkout {placed.checkout_id} is {stage}"
                raise ReplayError(f"order {past.id}: {where}")
            redirect = checkout["payment"]["redirect"]
            if redirect is not None and not paid:
                paid = await self._pay_once(past, placed, redirect, customer)
            await asyncio.sleep(0.05)

    async def _is_over(self, stage: str, placed: Placed) -> bool:
        """Whether it is to be placed again; where money can still revive it, only if nobody has paid."""
        revivable = stage in REVIVABLE
        return stage in self.again and not (revivable and await self._is_paid(placed.reference))

    async def _pay_once(
        self, past: PastOrder, placed: Placed, redirect: Mapping[str, Any], customer: Customer
    ) -> bool:
        """Pay at the gateway; the reference is noted first, so that money is found again after a crash.

        A gateway takes a reference once. One that was shown the pay page and left needs another attempt,
        which the checkout offers next: False.
        """
        reference = str(redirect["fields"]["transaction_uuid"])
        if placed.reference != reference:
            placed.reference = reference
            self.journal.note(past.id, placed)
        try:
            await self._sure(lambda: self.esewa.pay(redirect["url"], redirect["fields"]))
        except RefusedError:
            if await self._is_paid(reference):
                return True
            await self._another_attempt(placed, reference, customer)
            return False
        return True

    async def _another_attempt(self, placed: Placed, reference: str, customer: Customer) -> None:
        path, key = f"/v1/checkouts/{placed.checkout_id}/attempts", str(uuid5(NAMESPACE_OID, reference))
        try:
            await self._sure(lambda: customer.call("POST", path, {"provider": "esewa"}, idempotency_key=key))
        except ApiError as error:
            if error.status != httpx2.codes.CONFLICT:  # too late for one: the checkout's stage will say more
                raise

    async def _is_paid(self, reference: str | None) -> bool:
        """Whether the gateway has this money."""
        return reference is not None and any(one.paid_at for one in await self.esewa.truth(reference))

    async def _sure(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await patiently(ask, self.patience_s)

    async def _move(self, past: PastOrder, placed: Placed, customer: Customer) -> None:
        order = await self._sure(lambda: customer.order(placed.checkout_id))
        for item in order["items"]:
            vendor = Vendor(self.api, self.make_token, UUID(item["vendor_id"]))
            await self._move_item(customer, vendor, placed.checkout_id, item, past.ends_as)

    async def _move_item(
        self, customer: Customer, vendor: Vendor, order_id: str, item: Mapping[str, Any], ends_as: str
    ) -> None:
        """Step by step; after an unclear answer the item says itself how far it is."""
        while (rest := _rest(item["status"], ends_as)) is not None and rest:
            try:
                reason = {"reason": "the history says so"} if rest[0] == "cancelled" else {}
                item = await vendor.move(item, rest[0], **reason)
            except (ApiError, httpx2.TransportError) as error:
                if isinstance(error, ApiError) and not _may_pass(error):
                    raise
                await asyncio.sleep(0.2)
                order = await self._sure(lambda: customer.order(order_id))
                item = next(one for one in order["items"] if one["id"] == item["id"])


def _rest(status: str, ends_as: str) -> tuple[str, ...] | None:
    """The steps still to take from here; None when this way cannot lead there."""
    steps = STEPS[ends_as]
    if status == "pending":
        return steps
    if status not in steps:
        raise ReplayError(f"an item is {status}, the history says {ends_as}")
    return steps[steps.index(status) + 1 :]


def _may_pass(error: ApiError) -> bool:
    return error.status in (409, 412, 429, 503) or error.status >= 500  # noqa: PLR2004


async def patiently(ask: Callable[[], Awaitable[T]], within_s: float = PATIENCE_S) -> T:
    """The answer, asked for again while services are down or busy; every request here is safe to repeat."""
    until, pause = monotonic() + within_s, 0.1
    while True:
        try:
            return await ask()
        except httpx2.TransportError:
            if monotonic() > until:
                raise
        except ApiError as error:
            busy = error.status in (429, 503) or error.code in BUSY
            if monotonic() > until or not (busy or error.status >= 500):  # noqa: PLR2004
                raise
        await asyncio.sleep(pause)
        pause = min(2.0, pause * 1.5)
