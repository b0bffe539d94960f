"""One past order again: cart, checkout, payment, and every item to where the history left it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
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
ENDED: Final = frozenset({"rejected", "expired", "payment_failed", "cancelled", "refund_pending", "refunded"})


class ReplayError(RuntimeError):
    """An order did not go the way the history says; the message says where it is."""


@dataclass(slots=True)
class Player:
    """Plays orders against one installation; every step is safe to repeat."""

    api: Api
    make_token: TokenMaker
    esewa: Simulator
    journal: Journal

    async def play(self, past: PastOrder) -> None:
        """From wherever an earlier run left it to the end the history tells of."""
        placed = self.journal.placed.get(past.id)
        if placed is not None and placed.done:
            return
        customer = Customer(self.api, self.make_token, subject=UUID(past.customer))
        if placed is None:
            placed = Placed(await self._place(past, customer))
            self.journal.note(past.id, placed)
        await self._pay(past, placed, customer)
        await self._move(past, placed, customer)
        placed.done = True
        self.journal.note(past.id, placed)

    async def _place(self, past: PastOrder, customer: Customer) -> str:
        """The checkout of this order; one that an interrupted run has placed is found again."""
        ours = {placed.checkout_id for placed in self.journal.placed.values()}
        page = await patiently(lambda: customer.call("GET", "/v1/orders"))
        for known in page["data"]:
            if known["id"] not in ours:
                return str(known["id"])
        for goods, quantity in past.wanted.items():
            await patiently(partial(customer.wants, goods.sku, quantity))
        key = str(uuid5(NAMESPACE_OID, past.id))
        checkout = await patiently(lambda: customer.check_out(key=key))
        return str(checkout["id"])

    async def _pay(self, past: PastOrder, placed: Placed, customer: Customer) -> None:
        while True:
            checkout = await patiently(lambda: customer.checkout(placed.checkout_id))
            if checkout["stage"] == "confirmed":
                return
            if checkout["stage"] in ENDED:
                raise ReplayError(
                    f"order {past.id}: its checkout {placed.checkout_id} is {checkout['stage']}"
                )
            redirect = checkout["payment"]["redirect"]
            if redirect is not None and placed.reference is None:
                await self._pay_once(past, placed, redirect)
            await asyncio.sleep(0.05)

    async def _pay_once(self, past: PastOrder, placed: Placed, redirect: Mapping[str, Any]) -> None:
        """Pay at the gateway; a reference it has seen already was paid before the interruption."""
        reference = str(redirect["fields"]["transaction_uuid"])
        try:
            await patiently(lambda: self.esewa.pay(redirect["url"], redirect["fields"]))
        except RefusedError:
            if not any(one.paid_at for one in await self.esewa.truth(reference)):
                raise
        placed.reference = reference
        self.journal.note(past.id, placed)

    async def _move(self, past: PastOrder, placed: Placed, customer: Customer) -> None:
        order = await patiently(lambda: customer.order(placed.checkout_id))
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
                order = await patiently(lambda: customer.order(order_id))
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


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, asked for again while services are down or busy; every request here is safe to repeat."""
    until, pause = monotonic() + PATIENCE_S, 0.1
    while True:
        try:
            return await ask()
        except httpx2.TransportError:
            if monotonic() > until:
                raise
        except ApiError as error:
            busy = error.status in (429, 503) or error.code in (
                "IDEMPOTENCY_KEY_IN_FLIGHT",
                "CONCURRENT_UPDATE",
            )
            if monotonic() > until or not (busy or error.status >= 500):  # noqa: PLR2004
                raise
        await asyncio.sleep(pause)
        pause = min(2.0, pause * 1.5)
