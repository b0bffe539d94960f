"""The people of a run: honest, impatient and cheating customers, and the vendors who serve them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import httpx2

from infra.people import ADDRESS
from tests.chaos.caller import Caller, Doors, Told
from tests.fakes.esewa import RefusedError, Simulator
from tests.fakes.esewa.faults import ReturnShape

T = TypeVar("T")
PAY_WITHIN_S: Final = 30
WATCH_EVERY_S: Final = 2.0
WATCH_FOR_S: Final = 120.0
PAYABLE_WITHIN_S: Final = 45.0
AT_THE_GATEWAY_S: Final = 40.0
LATE_S: Final = PAY_WITHIN_S + 13.0
SETTLED: Final = frozenset(
    {"confirmed", "rejected", "payment_failed", "expired", "cancelled", "refund_pending", "refunded"}
)
ASK: Final[dict[str, object]] = {"payment_method": "esewa", "shipping_address": dict(ADDRESS)}
STEPS: Final = ("processing", "shipped", "delivered")
STEP_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Ware:
    """One thing on sale."""

    vendor_id: UUID
    sku: str


@dataclass(slots=True)
class Market:
    """What customers meet: doors, the gateway's pay page, what is on sale, and when the run ends.

    `scarce` are sold one after the other over the run, each to more people than there are units.
    """

    doors: Doors
    esewa: Simulator
    plenty: Sequence[Ware]
    scarce: Sequence[Ware]
    begun: float
    seconds: float
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def choose(self, chance: Random) -> list[Ware]:
        """One to three different things, often of several vendors."""
        wanted = chance.sample(self.plenty, chance.choice((1, 1, 2, 2, 3)))
        if chance.random() < 0.45:
            elapsed = min(0.999, (monotonic() - self.begun) / self.seconds)
            wanted[0] = self.scarce[int(elapsed * len(self.scarce))]
        return wanted


@dataclass(slots=True)
class Deal:
    """One customer on the way from a cart to delivered goods."""

    market: Market
    buyer: Caller
    chance: Random
    key: str = field(default_factory=lambda: str(uuid4()))
    checkout_id: str = ""

    async def fill_cart(self) -> None:
        for ware in self.market.choose(self.chance):
            quantity = {"quantity": self.chance.choice((1, 1, 1, 2))}
            await self.buyer.insist("fill cart", "PUT", f"/v1/cart/items/{ware.sku}", quantity)

    async def check_out(self, key: str | None = None) -> Told:
        return await self.buyer.insist("check out", "POST", "/v1/checkouts", ASK, key=key or self.key)

    async def placed(self) -> bool:
        """Whether there is a checkout now that may be paid."""
        return self.knows(await self.check_out())

    def knows(self, told: Told) -> bool:
        if told.type != "ok" or told.body.get("id") is None:
            return False
        self.checkout_id = str(told.body["id"])
        return True

    async def look(self, f: str = "look") -> Told:
        return await self.buyer.ask(f, "GET", f"/v1/checkouts/{self.checkout_id}")

    async def redirect(self) -> Mapping[str, Any] | None:
        """The form to pay with, as soon as there is one; another attempt where the last is spent."""
        until, pause_s = monotonic() + PAYABLE_WITHIN_S, 0.5
        while monotonic() < until:
            told = await self.look()
            if told.type == "ok":
                payment = told.body.get("payment") or {}
                if payment.get("redirect"):
                    return dict(payment["redirect"])
                if told.body.get("stage") in SETTLED:
                    return None
                if payment.get("retry"):
                    await self.another_attempt()
            await asyncio.sleep(pause_s)
            pause_s = min(WATCH_EVERY_S, 1.5 * pause_s)
        return None

    async def another_attempt(self) -> Mapping[str, Any] | None:
        told = await self.buyer.insist(
            "another attempt",
            "POST",
            f"/v1/checkouts/{self.checkout_id}/attempts",
            {"provider": "esewa"},
            key=str(uuid4()),
        )
        return dict(told.body["redirect"]) if told.type == "ok" and told.body.get("redirect") else None

    async def open_page(self, redirect: Mapping[str, Any]) -> str | None:
        """The pay page; None where the gateway will not take the form (any more)."""
        try:
            return await at_the_gateway(
                lambda: self.market.esewa.submit(str(redirect["url"]), redirect["fields"])
            )
        except (RefusedError, httpx2.HTTPError):
            return None

    async def pay(self, page: str, *, come_back: bool = True, late: bool = False) -> bool:
        """Money moves; the browser comes back, or its tab is closed."""
        recorder = self.market.doors.recorder
        asked = recorder.invoke(self.buyer.name, "pay", {"checkout": self.checkout_id, "late": late})
        try:
            paid = await at_the_gateway(
                lambda: self.market.esewa.finish(page, "pay", follow_return=come_back)
            )
        except (RefusedError, httpx2.HTTPError) as error:
            recorder.end(asked, "info", error=type(error).__name__)
            return False
        recorder.end(asked, "ok", paid.return_status, reference=paid.reference, status=paid.status)
        return True

    async def watch(self, *, past: Sequence[str] = ()) -> str:
        """The stage the checkout ended in, asked for every 2 s; `` when it is not settled after 120 s."""
        recorder = self.market.doors.recorder
        asked = recorder.invoke(self.buyer.name, "watch", {"checkout": self.checkout_id})
        until = monotonic() + WATCH_FOR_S
        while monotonic() < until:
            told = await self.look("poll")
            stage = str(told.body.get("stage", ""))
            if told.type == "ok" and stage in SETTLED and stage not in past:
                recorder.end(asked, "ok", stage=stage, checkout=self.checkout_id)
                return stage
            await asyncio.sleep(WATCH_EVERY_S)
        recorder.end(asked, "fail", checkout=self.checkout_id)
        return ""

    async def cancel(self) -> Told:
        return await self.buyer.insist("cancel", "POST", f"/v1/checkouts/{self.checkout_id}/cancel")

    async def order(self) -> Told:
        return await self.buyer.insist("read order", "GET", f"/v1/orders/{self.checkout_id}")

    async def served(self) -> None:
        """Every item goes its way, all vendors at once; some are cancelled by theirs."""
        told = await self.order()
        items = list(told.body.get("items") or ())
        await asyncio.gather(*(serve(self, item) for item in items))
        await self.order()


async def at_the_gateway(ask: Callable[[], Awaitable[T]]) -> T:
    """The gateway's answer, asked for again while it is away; both steps there may be repeated."""
    until = monotonic() + AT_THE_GATEWAY_S
    while True:
        try:
            return await ask()
        except httpx2.HTTPError:
            if monotonic() > until:
                raise
        await asyncio.sleep(0.5)


async def serve(deal: Deal, item: Mapping[str, Any]) -> None:
    """One item to its end; after an unclear or outdated answer the customer's view says how far it is."""
    vendor_id = UUID(str(item["vendor_id"]))
    vendor = Caller(deal.market.doors, f"vendor {vendor_id}", "vendor", deal.chance, vendor_id=vendor_id)
    is_cancelled = deal.chance.random() < 0.1
    for _ in range(STEP_TRIES):
        step = next_step(str(item["status"]), is_cancelled=is_cancelled)
        if step is None:
            return
        body = {"new_status": step} | ({"reason": "sold elsewhere"} if step == "cancelled" else {})
        path, key = f"/v1/vendor/items/{item['id']}/status", str(uuid4())
        version = int(item["version"])
        told = await vendor.insist(
            "move item", "POST", path, body, key=key, version=version, order=deal.checkout_id
        )
        if told.type == "ok":
            item = told.body
            continue
        seen = await deal.order()
        item = next((one for one in seen.body.get("items", ()) if one["id"] == item["id"]), item)


def next_step(status: str, *, is_cancelled: bool) -> str | None:
    if status in ("delivered", "cancelled"):
        return None
    if is_cancelled and status == "pending":
        return "cancelled"
    return STEPS[0] if status == "pending" else STEPS[STEPS.index(status) + 1]


async def honest(deal: Deal) -> None:
    """Fills the cart, pays, closes the tab or comes back, gets the goods."""
    await deal.fill_cart()
    if not await deal.placed():
        return
    watching = asyncio.create_task(deal.watch())
    redirect = await deal.redirect()
    page = await deal.open_page(redirect) if redirect else None
    if page is not None:
        await deal.pay(page, come_back=deal.chance.random() < 0.75)
    if await watching == "confirmed":
        await deal.served()


async def impatient(deal: Deal) -> None:
    """Clicks twice, has a second tab, reloads, pays whatever page answers first."""
    await deal.fill_cart()
    tabs = [deal.check_out(), deal.check_out()]
    if deal.chance.random() < 0.5:
        tabs.append(deal.check_out(str(uuid4())))
    answers = await asyncio.gather(*tabs)
    known = [told for told in answers if deal.knows(told)]
    if not known:
        return
    await asyncio.gather(deal.look(), deal.look(), deal.check_out())
    watching = asyncio.create_task(deal.watch())
    redirect = await deal.redirect()
    page = await deal.open_page(redirect) if redirect else None
    if page is not None:
        await asyncio.gather(deal.pay(page), deal.pay(page), deal.look())
    if await watching == "confirmed":
        await deal.served()


async def twice_paying(deal: Deal) -> None:
    """Leaves the first pay page open, asks for another, pays both."""
    await deal.fill_cart()
    if not await deal.placed():
        return
    watching = asyncio.create_task(deal.watch())
    redirect = await deal.redirect()
    first = await deal.open_page(redirect) if redirect else None
    another = await deal.another_attempt() if first else None
    second = await deal.open_page(another) if another else None
    pages = [page for page in (first, second) if page is not None]
    await asyncio.gather(*(deal.pay(page) for page in pages))
    if await watching == "confirmed":
        await deal.served()


async def late(deal: Deal) -> None:
    """Opens the pay page, forgets it, and pays when nobody waits any more."""
    await deal.fill_cart()
    if not await deal.placed():
        return
    redirect = await deal.redirect()
    page = await deal.open_page(redirect) if redirect else None
    await asyncio.sleep(LATE_S)
    before = str((await deal.look()).body.get("stage", ""))
    if page is not None and await deal.pay(page, late=before in ("expired", "payment_failed")):
        if await deal.watch(past=("expired", "payment_failed")) == "confirmed":
            await deal.served()
    else:
        await deal.watch()


async def cheating(deal: Deal) -> None:
    """Another body under the same key, forged returns, somebody else's checkout, a cancel after paying."""
    await deal.fill_cart()
    if not await deal.placed():
        return
    watching = asyncio.create_task(deal.watch())
    address = {**ADDRESS, "name": "Somebody Else"}
    await deal.buyer.ask(
        "check out otherwise",
        "POST",
        "/v1/checkouts",
        {"payment_method": "esewa", "shipping_address": address},
        key=deal.key,
    )
    stranger = Caller(deal.market.doors, "a stranger", "customer", deal.chance)
    await stranger.ask("look at another's", "GET", f"/v1/checkouts/{deal.checkout_id}")
    await _forge(deal)
    await watching


async def _forge(deal: Deal) -> None:
    """A return that says success where nothing was paid; then perhaps a cancel, or both at once."""
    redirect = await deal.redirect()
    page = await deal.open_page(redirect) if redirect else None
    if redirect is None or page is None:
        return
    reference = str(redirect["fields"]["transaction_uuid"])
    try:
        await deal.market.esewa.returns(reference, ReturnShape(to="success"), times=2, at_once=2)
    except (RefusedError, httpx2.HTTPError):
        return
    match deal.chance.randrange(3):
        case 0:
            await deal.cancel()
        case 1:
            await asyncio.gather(deal.cancel(), deal.pay(page))
        case _:
            return


KINDS: Final[Mapping[str, tuple[int, Callable[[Deal], Awaitable[None]]]]] = {
    "honest": (46, honest),
    "impatient": (24, impatient),
    "late": (10, late),
    "paying twice": (6, twice_paying),
    "cheating": (14, cheating),
}
"""How many of a hundred customers are so, and what they do."""
