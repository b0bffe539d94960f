"""The world of one checkout: what each service knows of it, what is on its way, and the shelf."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from contracts.event import Event
from contracts.inventory import StockRejected, StockReserved
from contracts.orders import (
    ItemCancelled,
    ItemFulfilled,
    ItemShipped,
    OrderCancelled,
    OrderExpired,
    OrderFinalized,
    OrderPlaced,
    OrderRevived,
)
from contracts.payments import (
    PaymentDeclined,
    PaymentFailed,
    PaymentHeld,
    PaymentOpened,
    PaymentRefunded,
    PaymentReturned,
    PaymentVerified,
)
from services.inventory.domain import Order as Stock
from services.orders.domain import Checkout, Order
from services.payments.domain import Intent

NOW: Final = datetime(2026, 11, 21, 10, tzinfo=UTC)
"""Time does not pass here: timers fire whenever their guard lets them."""
PAY_BY: Final = NOW + timedelta(minutes=15)
AFTER_CLOSE: Final = PAY_BY + timedelta(minutes=2)
"""When a last lookup may find that the window is over."""
TOO_LATE: Final = NOW + timedelta(days=2)
"""Money that is heard of now revives nothing."""

ORDER: Final = UUID(int=1)
CUSTOMER: Final = UUID(int=2)
VENDOR: Final = UUID(int=3)
ADMIN: Final = UUID(int=4)
UNDECIDED: Final = UUID(int=5)
UNANSWERED: Final = UUID(int=6)
PRICE: Final = 100_00
DELIVERY: Final = 51
"""Odd, so that two items cannot share it evenly."""


@dataclass(frozen=True, slots=True)
class Config:
    """What may happen in an exploration: everything that is not said cannot."""

    name: str
    cod: bool = False
    attempts: int = 1
    items: int = 1
    cancel: bool = True
    """The customer may cancel the checkout."""
    rival: bool = True
    """Somebody else buys the unit whenever it is free."""
    returns: bool = False
    """Browsers come back from the gateway."""
    soft: bool = False
    """An attempt that is declined today may be paid tomorrow."""
    pending: bool = False
    """The gateway may not know for a while, or not answer at all."""
    mismatch: bool = False
    """A charge of another amount."""
    reversal: bool = False
    """The gateway takes applied money back."""
    any_reversal: bool = False
    """The gateway takes back whatever it took, applied or not, and seldom thinks again: people decide."""
    odd: bool = False
    """The gateway may for a while name a payment that cannot be ours."""
    unanswered: bool = True
    """Orders may leave money without an answer for so long that it becomes a case."""
    refuse: bool = False
    """What inventory says does not add up, so that no order may be made of it."""
    steps: bool = False
    """Vendors, customers and admins move items."""
    caught_up: bool = True
    """The hard limit waits until everything that payments has told is read."""
    lost_confirmation: bool = False
    """Cash: a process dies between the two transactions that confirm a phone."""
    rank_cases: bool = False
    """Whether the sequences of `payment.held` are told apart; nothing that follows the rules needs them."""


HEARD: Final[dict[tuple[str, type[Event]], str]] = {
    ("inventory", OrderPlaced): "reserve",
    ("inventory", OrderExpired): "end",
    ("inventory", OrderRevived): "reserve",
    ("inventory", OrderFinalized): "sell",
    ("payments", OrderFinalized): "accept_order",
    ("inventory", OrderCancelled): "end",
    ("payments", OrderCancelled): "end_checkout",
    ("inventory", ItemShipped): "sell",
    ("inventory", ItemFulfilled): "sell",
    ("payments", ItemFulfilled): "fulfil_item",
    ("inventory", ItemCancelled): "return_item",
    ("payments", ItemCancelled): "cancel_item",
    ("orders", StockReserved): "accept_reservation",
    ("payments", StockReserved): "open_intent",
    ("orders", StockRejected): "accept_rejection",
    ("orders", PaymentOpened): "hear_hint",
    ("orders", PaymentReturned): "hear_hint",
    ("orders", PaymentDeclined): "hear_hint",
    ("orders", PaymentFailed): "hear_hint",
    ("orders", PaymentHeld): "hold_payment",
    ("orders", PaymentVerified): "accept_payment",
    ("orders", PaymentRefunded): "accept_refund",
}
"""Who hears what, and the decision it comes to. Orders' own item events are one note: `rollup_due`."""

CHANNELS: Final = tuple(HEARD)
"""First in, first out per topic and hearer; topics overtake each other at will."""
HEARERS: Final[dict[type[Event], tuple[int, ...]]] = {
    event: tuple(place for place, (_, heard) in enumerate(CHANNELS) if heard is event)
    for event in {heard for _, heard in CHANNELS}
}


def channels_of(*events: type[Event]) -> tuple[int, ...]:
    """Where these wait to be heard."""
    return tuple(place for event in events for place in HEARERS[event])


HINTS: Final = channels_of(PaymentOpened, PaymentReturned, PaymentDeclined, PaymentFailed)
MONEY: Final = channels_of(PaymentVerified, PaymentRefunded)
CASES: Final = channels_of(PaymentHeld)
OF_PAYMENTS: Final = HINTS + MONEY + CASES
FIRST_OF_PAYMENTS: Final = min(OF_PAYMENTS)
"""They are the last of all channels, so that they can be looked at together."""
assert set(OF_PAYMENTS) == set(range(FIRST_OF_PAYMENTS, len(CHANNELS)))


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """An event on its way. There is one object for each, so that equal is the same."""

    event: Event
    sequence: int
    plain: Event
    """The same without its envelope."""
    brief: str
    """What the story says of it."""


class Pile(NamedTuple):
    """The units of one SKU; `rival` are those somebody else bought."""

    on_hand: int = 1
    reserved: int = 0
    rival: int = 0


class World(NamedTuple):
    """Everything there is. The first four are one object for each value, so that equal is the same."""

    checkout: Checkout
    order: Order | None = None
    stock: Stock | None = None
    intent: Intent | None = None
    shelf: tuple[Pile, ...] = (Pile(),)
    gateway: tuple[str, ...] = ()
    """What the gateway thinks of each attempt: open, pending, odd, paid, other, dead, taken."""
    channels: tuple[tuple[Message, ...], ...] = ((),) * len(CHANNELS)
    in_cart: bool = False
    """Whether the cart has lines that came back from this checkout."""
    phone: str = "unknown"
    """Then `account` (the first transaction is done), then `confirmed`."""
    cod_orders: int = 0
    """Active cash-on-delivery orders of this customer, as the account counts them."""
    rollup_due: bool = False
    reversal_heard: bool = False
    """For the checks: orders has heard that a reversal case is open."""
    broken: str = ""
    """For the checks: a promise that the last move has broken."""


def key_of(world: World) -> tuple[object, ...]:
    """What tells it from another: fast to hash, and good as long as its values live."""
    return (id(world.checkout), id(world.order), id(world.stock), id(world.intent), *world[4:])


def sku(place: int) -> str:
    """The SKU of this pile; each item of the order is one unit of one of them."""
    return f"sku-{place}"


def place_of(name: str) -> int:
    """Which pile this SKU is."""
    return int(name.removeprefix("sku-"))
