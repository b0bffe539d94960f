"""The checkout as values: its state, what may happen to it from outside, and what its changes bring about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from contracts.event import NIL, Envelope, Method
from contracts.inventory import Delivery
from contracts.orders import ItemState, OrderPlaced, OrderState, WantedLine
from services.chassis.decisions import Changed, Decision, Refused, altered
from services.orders.domain.actor import Actor
from services.orders.domain.order import Item, Order, shares

REVIVABLE_FOR: Final = timedelta(hours=24)
"""Money that comes later than this after the checkout ended goes back instead of reviving it."""
MOST_LINES: Final = 100
"""Of a checkout: a full cart, and as much again that came back from checkouts before."""
MOST_CART_LINES: Final = 50
MOST_UNITS: Final = 50
"""Of one SKU, in a cart line and in a checkout."""


class Stage(StrEnum):
    """Where a checkout stands; the public vocabulary of `GET /v1/checkouts/{id}`."""

    RESERVING = "reserving"
    AWAITING_PHONE = "awaiting_phone"
    AWAITING_PAYMENT = "awaiting_payment"
    VERIFYING = "verifying"
    ON_HOLD = "on_hold"
    PROCESSING = "processing"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    PAYMENT_FAILED = "payment_failed"
    CANCELLED = "cancelled"
    REFUND_PENDING = "refund_pending"
    REFUNDED = "refunded"


ENDED: Final = frozenset(
    {
        Stage.REJECTED,
        Stage.EXPIRED,
        Stage.PAYMENT_FAILED,
        Stage.CANCELLED,
        Stage.REFUND_PENDING,
        Stage.REFUNDED,
    }
)
"""No order came of it, and none will unless money revives it."""


PAYABLE: Final = frozenset({Stage.AWAITING_PAYMENT, Stage.VERIFYING})
"""Their time limit counts from when the lines were held, however often the checkout went between the two."""


class Hold(StrEnum):
    """What orders knows of the hold `hold_no` at inventory."""

    ASKED = "asked"
    HELD = "held"
    NONE = "none"


Hint: TypeAlias = Literal["opened", "returned", "declined", "failed"]


class Line(NamedTuple):
    """One SKU of a checkout; `id` becomes the item's. Inventory's answer fills in what follows `quantity`."""

    id: UUID
    sku: str
    quantity: int
    price_paisa: int | None = None
    vendor_id: UUID = NIL
    slug: str = ""
    title: str = ""

    @property
    def net_paisa(self) -> int:
        """Price x quantity; 0 while the price is unknown."""
        return (self.price_paisa or 0) * self.quantity


@dataclass(frozen=True)
class Checkout:
    """One checkout and its saga: the row `checkouts`.

    `pay_seq` is the newest hint's `ce_sequence`, `money_seq` that of the newest verified or refunded;
    `open_cases` are (case_id, reason); `stored` is the newest hint that came while reserving; `held_at` is
    when inventory first held the lines; `since` is from when the stage's time limit
    counts; `order_number` is drawn when the row is locked, for an order it may become.
    """

    order_id: UUID
    customer_id: UUID
    method: Method
    pay_within_s: int
    lines: tuple[Line, ...]
    stage: Stage = Stage.RESERVING
    hold_no: int = 1
    hold: Hold = Hold.ASKED
    total_paisa: int | None = None
    deliveries: tuple[tuple[UUID, int], ...] = ()
    paid_at: datetime | None = None
    paid_paisa: int | None = None
    pay_seq: int = 0
    money_seq: int = 0
    open_cases: frozenset[tuple[UUID, str]] = frozenset()
    stored: Hint | None = None
    declined: bool = False
    cod_active: bool = False
    lines_returned: bool = False
    refusals: tuple[tuple[str, str], ...] = ()
    held_at: datetime | None = None
    since: datetime | None = None
    ended_at: datetime | None = None
    seq: int = 0
    version: int = 1
    order_number: str = ""

    @property
    def is_reversed(self) -> bool:
        """Whether the gateway may take the money back: nothing may ship meanwhile."""
        return any(reason == "reversed" for _, reason in self.open_cases)


# ----- what a change brings about beside the row itself


class Step(NamedTuple):
    """One row of a history: the change number `seq` of this checkout."""

    order_id: UUID
    seq: int
    old: Stage | None
    new: Stage
    cause: Envelope
    actor: Actor
    reason: str


class CreateOrder(NamedTuple):
    """Write the order and its items."""

    order: Order
    cause: Envelope


@dataclass(frozen=True, slots=True)
class ReturnLines:
    """Put these lines back into the cart, marked as returned from this checkout."""

    order_id: UUID
    customer_id: UUID
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class TakeReturned:
    """Take out of the cart exactly the lines that went back from this checkout."""

    order_id: UUID
    customer_id: UUID


@dataclass(frozen=True, slots=True)
class ReleaseCod:
    """One cash-on-delivery order of this customer is no longer active."""

    order_id: UUID
    customer_id: UUID


@dataclass(frozen=True, slots=True)
class BlockShipping:
    """Nothing of this order may ship, because a reversal case was opened; or it may again."""

    order_id: UUID
    blocked: bool


# ----- commands: what people and the clock ask for


@dataclass(frozen=True, slots=True)
class PlaceCheckout:
    """A customer checks out the cart: `lines` come from there, `address` is already encrypted."""

    order_id: UUID
    customer_id: UUID
    method: Method
    pay_within_s: int
    address: bytes
    lines: tuple[Line, ...] = ()
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.order_id


@dataclass(frozen=True, slots=True)
class CancelCheckout:
    """The customer gives up; `version` is the one they saw, if they said so."""

    order_id: UUID
    actor: Actor
    version: int | None = None
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.order_id


@dataclass(frozen=True, slots=True)
class ConfirmPhone:
    """The customer's phone number is confirmed: checkouts that waited for it go on."""

    order_id: UUID
    actor: Actor
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.order_id


@dataclass(frozen=True, slots=True)
class TimeIsUp:
    """The time limit of the stage the checkout is in has passed."""

    order_id: UUID
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.order_id


# ----- decisions that need no stage


def place(_: Checkout | None, command: PlaceCheckout) -> Decision[Checkout]:
    """The cart's lines become a checkout, and inventory is asked to hold them."""
    if not command.lines:
        return Refused("CART_EMPTY", "There is nothing in the cart.")
    if len(command.lines) > MOST_LINES:
        return Refused("CART_FULL", f"A checkout takes at most {MOST_LINES} lines.")
    if too_many := [line.sku for line in command.lines if line.quantity > MOST_UNITS]:
        return Refused("QUANTITY_LIMIT", f"At most {MOST_UNITS} units: {', '.join(too_many)}")
    checkout = Checkout(
        command.order_id,
        command.customer_id,
        command.method,
        command.pay_within_s,
        command.lines,
        cod_active=command.method == "cod",
    )
    placed = OrderPlaced(
        order_id=command.order_id,
        customer_id=command.customer_id,
        method=command.method,
        pay_within_s=command.pay_within_s,
        lines=wanted(command.lines),
    )
    actor = Actor("customer", command.customer_id)
    step = Step(command.order_id, 1, None, Stage.RESERVING, command.envelope, actor, "placed")
    return Changed(checkout, (placed,), (step,))


def wanted(lines: Sequence[Line]) -> tuple[WantedLine, ...]:
    """The lines as inventory is asked for them."""
    return tuple(WantedLine(sku=line.sku, quantity=line.quantity) for line in lines)


def refusal(checkout: Checkout) -> str:
    """Why no order may be made of this checkout; empty when one may."""
    priced = {line.vendor_id for line in checkout.lines if line.price_paisa is not None}
    if not checkout.lines or any(line.price_paisa is None for line in checkout.lines):
        return "incomplete_hold"
    if not {vendor for vendor, _ in checkout.deliveries} <= priced:
        return "delivery_of_nobody"
    total = sum(line.net_paisa for line in checkout.lines) + sum(paisa for _, paisa in checkout.deliveries)
    return "" if total == checkout.total_paisa else "wrong_total"


def order_of(checkout: Checkout, now: datetime) -> Order:
    """The order it becomes: an item per line, each vendor's delivery charge shared among its items."""
    delivery: dict[UUID, int] = {}
    for vendor_id, paisa in checkout.deliveries:
        mine = [line for line in checkout.lines if line.vendor_id == vendor_id]
        parts = shares(paisa, [line.net_paisa for line in mine])
        delivery |= {line.id: part for line, part in zip(mine, parts, strict=True)}
    items = tuple(_item(number, line, delivery) for number, line in enumerate(checkout.lines, 1))
    return Order(
        order_id=checkout.order_id,
        customer_id=checkout.customer_id,
        order_number=checkout.order_number,
        method=checkout.method,
        total_paisa=checkout.total_paisa or 0,
        hold_no=checkout.hold_no,
        created_at=now,
        blocked=checkout.is_reversed,
        items=items,
    )


def _item(number: int, line: Line, delivery: dict[UUID, int]) -> Item:
    return Item(
        id=line.id,
        line=number,
        sku=line.sku,
        quantity=line.quantity,
        price_paisa=line.price_paisa or 0,
        vendor_id=line.vendor_id,
        slug=line.slug,
        title=line.title,
        delivery_paisa=delivery.get(line.id, 0),
    )


def priced(checkout: Checkout, held: dict[str, tuple[int, int, UUID, str, str]]) -> tuple[Line, ...]:
    """The lines at the frozen prices of inventory; a line it did not hold as asked stays without a price."""
    return tuple(_priced(line, held.get(line.sku)) for line in checkout.lines)


def _priced(line: Line, held: tuple[int, int, UUID, str, str] | None) -> Line:
    if held is None or held[0] != line.quantity:
        return line
    _, price_paisa, vendor_id, slug, title = held
    return Line(line.id, line.sku, line.quantity, price_paisa, vendor_id, slug, title)


def deliveries_of(deliveries: Sequence[Delivery]) -> tuple[tuple[UUID, int], ...]:
    """What each vendor charges for its delivery, as values."""
    return tuple((one.vendor_id, one.delivery_paisa) for one in deliveries)


def snapshot(checkout: Checkout, *, now: datetime) -> OrderState:
    """The public state of a checkout; items appear with the order."""
    confirmed = checkout.stage is Stage.CONFIRMED
    return OrderState(
        order_id=checkout.order_id,
        customer_id=checkout.customer_id,
        version=checkout.version,
        stage=checkout.stage.value,
        status="confirmed" if confirmed else None,
        method=checkout.method,
        total_paisa=checkout.total_paisa,
        order_number=checkout.order_number if confirmed else None,
        items=tuple(_state_of(line) for line in checkout.lines) if confirmed else (),
        updated_at=now,
    )


def _state_of(line: Line) -> ItemState:
    return ItemState(
        id=line.id, sku=line.sku, vendor_id=line.vendor_id, quantity=line.quantity, status="pending"
    )


def returned(checkout: Checkout) -> tuple[Checkout, tuple[ReturnLines | ReleaseCod, ...]]:
    """A checkout that ends without an order: its lines go back once, its COD place is free once."""
    do: tuple[ReturnLines | ReleaseCod, ...] = ()
    if not checkout.lines_returned:
        do += (ReturnLines(checkout.order_id, checkout.customer_id, checkout.lines),)
    if checkout.cod_active:
        do += (ReleaseCod(checkout.order_id, checkout.customer_id),)
    return altered(checkout, hold=Hold.NONE, lines_returned=True, cod_active=False), do
