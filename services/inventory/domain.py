"""What is allowed with stock: pure values and decisions about the holds of one order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from contracts.event import Event
from contracts.inventory import (
    Delivery,
    HeldLine,
    RefusalCode,
    RefusedLine,
    StockRejected,
    StockReleased,
    StockReserved,
)
from contracts.orders import (
    ItemCancelled,
    ItemFulfilled,
    ItemShipped,
    OrderCancelled,
    OrderExpired,
    OrderFinalized,
    OrderPlaced,
    OrderRevived,
    WantedLine,
)
from services.chassis.decisions import Cause, Changed, Decision, Never, Refused, Unchanged, altered

MOST_OF_ONE_SKU: Final = 10**6
"""Units of one SKU in one hold: what an event can carry in one line."""


class HoldStatus(StrEnum):
    """Where a hold stands; `refused` and a tombstone (`ended` without lines) never held anything."""

    HELD = "held"
    CONSUMED = "consumed"
    ENDED = "ended"
    REFUSED = "refused"


NEXT: Final[dict[HoldStatus | None, frozenset[HoldStatus]]] = {
    None: frozenset({HoldStatus.HELD, HoldStatus.REFUSED, HoldStatus.ENDED}),
    HoldStatus.HELD: frozenset({HoldStatus.CONSUMED, HoldStatus.ENDED}),
    HoldStatus.CONSUMED: frozenset(),
    HoldStatus.ENDED: frozenset(),
    HoldStatus.REFUSED: frozenset(),
}
"""Every step a hold may take; None is a hold nobody has heard of. It ends once (STK-4)."""


class Line(NamedTuple):
    """Units of one SKU in a hold, with everything that is frozen when the hold is made.

    `delivery_paisa` is what the vendor charges once per order, however many lines it has in it.
    """

    sku: str
    quantity: int
    price_paisa: int
    vendor_id: UUID
    delivery_paisa: int
    slug: str
    title: str


class Hold(NamedTuple):
    """One try to hold an order's lines; numbers count up with every revival."""

    hold_no: int
    status: HoldStatus
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Order:
    """What inventory knows about one order; `returned` are the items whose units are back in stock."""

    order_id: UUID
    seq: int = 0
    closes_all: bool = False
    holds: tuple[Hold, ...] = ()
    returned: frozenset[UUID] = frozenset()


class Offer(NamedTuple):
    """One SKU as it stands in the catalogue; without `delivery_paisa` its vendor is unknown."""

    sku: str
    price_paisa: int
    vendor_id: UUID
    delivery_paisa: int | None
    slug: str
    title: str
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """The catalogue, and by SKU the units that are on hand and promised to nobody."""

    offers: Mapping[str, Offer]
    free: Mapping[str, int]


class StockMove(NamedTuple):
    """What a decision does to one SKU: units on hand and units promised, and for whom.

    Units that come on or go off hand are a line in the ledger.
    """

    sku: str
    on_hand: int
    reserved: int
    order_id: UUID
    hold_no: int | None = None
    item_id: UUID | None = None


Wanted: TypeAlias = OrderPlaced | OrderRevived
Ended: TypeAlias = OrderExpired | OrderCancelled
Sold: TypeAlias = OrderFinalized | ItemShipped | ItemFulfilled | ItemCancelled

C = TypeVar("C", bound=Cause)


# ---------------------------------------------------------------------------- holding


def reserve(order: Order | None, wanted: Wanted, shelf: Shelf) -> Decision[Order]:
    """Hold every line or none; a revival first ends the hold before it, and keeps its prices."""
    order = order or Order(wanted.order_id)
    if order.closes_all or any(hold.hold_no >= wanted.hold_no for hold in order.holds):
        return Unchanged()
    if not wanted.lines:
        return Never(f"{wanted.TOPIC}: nothing is wanted")
    before = _held(order)
    if before is None:
        return _answer(Changed(order), wanted, shelf)
    ended = _end(Changed(order), before)
    return _answer(ended, wanted, after(shelf, ended.do))


def _answer(so_far: Changed[Order], wanted: Wanted, shelf: Shelf) -> Decision[Order]:
    """The hold of this number, held or refused, and the answer that says which."""
    quantities = summed(wanted.lines)
    refusals = tuple(_refusals(quantities, shelf))
    if refusals:
        hold = Hold(wanted.hold_no, HoldStatus.REFUSED)
        rejected = StockRejected(order_id=wanted.order_id, hold_no=wanted.hold_no, lines=refusals)
        return _with_hold(so_far, hold, tell=(rejected,))
    prices: Mapping[str, Offer | Line] = _frozen(so_far.state) if wanted.hold_no > 1 else shelf.offers
    if not prices.keys() >= quantities.keys():
        return Never(f"hold {wanted.hold_no} is wanted, but no earlier hold has its prices")
    lines = tuple(_line(prices[sku], quantity) for sku, quantity in sorted(quantities.items()))
    hold = Hold(wanted.hold_no, HoldStatus.HELD, lines)
    return _with_hold(so_far, hold, tell=(_reserved(wanted, lines),), reserved=1)


def summed(lines: Iterable[WantedLine]) -> dict[str, int]:
    """Units wanted of each SKU, however many lines ask for it."""
    total: dict[str, int] = {}
    for line in lines:
        total[line.sku] = total.get(line.sku, 0) + line.quantity
    return total


def _refusals(quantities: Mapping[str, int], shelf: Shelf) -> Iterable[RefusedLine]:
    for sku, quantity in quantities.items():
        if (code := _refusal(shelf.offers.get(sku), shelf.free.get(sku, 0), quantity)) is not None:
            yield RefusedLine(sku=sku, code=code)


def _refusal(offer: Offer | None, free: int, quantity: int) -> RefusalCode | None:
    if offer is None or offer.withdrawn:
        return "PRODUCT_UNAVAILABLE"
    if offer.delivery_paisa is None:
        return "VENDOR_NOT_FOUND"
    return "OUT_OF_STOCK" if quantity > min(free, MOST_OF_ONE_SKU) else None


def _frozen(order: Order) -> Mapping[str, Offer | Line]:
    """The prices of the first hold that had any, by SKU."""
    return next(({line.sku: line for line in hold.lines} for hold in order.holds if hold.lines), {})


def _line(source: Offer | Line, quantity: int) -> Line:
    return Line(
        source.sku,
        quantity,
        source.price_paisa,
        source.vendor_id,
        source.delivery_paisa or 0,
        source.slug,
        source.title,
    )


def total_of(lines: Iterable[Line]) -> int:
    """Price times quantity of every line, plus each vendor's delivery charge once (paisa)."""
    lines = tuple(lines)
    return sum(line.price_paisa * line.quantity for line in lines) + sum(_deliveries(lines).values())


def _deliveries(lines: Iterable[Line]) -> dict[UUID, int]:
    return {line.vendor_id: line.delivery_paisa for line in lines}


def _reserved(wanted: Wanted, lines: Sequence[Line]) -> StockReserved:
    return StockReserved(
        order_id=wanted.order_id,
        customer_id=wanted.customer_id,
        method=wanted.method,
        hold_no=wanted.hold_no,
        pay_within_s=wanted.pay_within_s,
        lines=tuple(_held_line(line) for line in lines),
        deliveries=tuple(_delivery(*one) for one in _deliveries(lines).items()),
        total_paisa=total_of(lines),
    )


# The same goods are wanted again and again, and a checked model costs more than finding it.
@lru_cache(maxsize=4096)
def _held_line(line: Line) -> HeldLine:
    return HeldLine(
        sku=line.sku,
        quantity=line.quantity,
        price_paisa=line.price_paisa,
        vendor_id=line.vendor_id,
        slug=line.slug,
        title=line.title,
    )


@lru_cache(maxsize=4096)
def _delivery(vendor_id: UUID, delivery_paisa: int) -> Delivery:
    return Delivery(vendor_id=vendor_id, delivery_paisa=delivery_paisa)


# ---------------------------------------------------------------------------- ending


def end(order: Order | None, ended: Ended) -> Decision[Order]:
    """What is held goes back on sale; an end that comes first leaves a tombstone: nothing is held later."""
    match ended:
        case OrderExpired():
            return _expire(order or Order(ended.order_id), ended.hold_no)
        case OrderCancelled(finalized=True):
            return sell(order, ended)
        case OrderCancelled():
            return _close(order or Order(ended.order_id))


def _expire(order: Order, hold_no: int) -> Decision[Order]:
    hold = _hold(order, hold_no)
    if hold is None:
        return _with_hold(Changed(order), Hold(hold_no, HoldStatus.ENDED))
    return _end(Changed(order), hold) if hold.status is HoldStatus.HELD else Unchanged()


def _close(order: Order) -> Decision[Order]:
    if order.closes_all:
        return Unchanged()
    closed = Changed(altered(order, closes_all=True))
    live = _held(order)
    return closed if live is None else _end(closed, live)


def _end(so_far: Changed[Order], hold: Hold) -> Changed[Order]:
    units = tuple(WantedLine(sku=line.sku, quantity=line.quantity) for line in hold.lines)
    released = StockReleased(order_id=so_far.state.order_id, hold_no=hold.hold_no, lines=units)
    return _with_hold(so_far, hold._replace(status=HoldStatus.ENDED), tell=(released,), reserved=-1)


# ---------------------------------------------------------------------------- selling


def sell(order: Order | None, cause: Sold | OrderCancelled) -> Decision[Order]:
    """The hold becomes a sale; every fact about a finalized order proves it, whichever is heard first."""
    order = order or Order(cause.order_id)
    hold = _hold(order, cause.hold_no) if isinstance(cause, OrderFinalized) else _sold_or_held(order)
    if hold is None or hold.status not in {HoldStatus.HELD, HoldStatus.CONSUMED}:
        return Never(f"{cause.TOPIC}: the hold behind it is {hold.status if hold else 'unknown'}")
    if hold.status is HoldStatus.CONSUMED:
        return Unchanged()
    consumed = hold._replace(status=HoldStatus.CONSUMED)
    return _with_hold(Changed(order), consumed, on_hand=-1, reserved=-1)


def return_item(order: Order | None, cause: ItemCancelled) -> Decision[Order]:
    """The sale first, if it is still to be made; then the units come back, if they do, once per item."""
    sale = sell(order, cause)
    if isinstance(sale, Never) or not cause.restock:
        return sale
    so_far = sale if isinstance(sale, Changed) else Changed(order or Order(cause.order_id))
    if cause.item_id in so_far.state.returned:
        return sale
    if cause.sku not in _frozen(so_far.state):
        return Never(f"{cause.TOPIC}: nothing of {cause.sku} was ever held for this order")
    back = StockMove(cause.sku, cause.quantity, 0, cause.order_id, item_id=cause.item_id)
    state = altered(so_far.state, returned=so_far.state.returned | {cause.item_id})
    return altered(so_far, state=state, do=(*so_far.do, back))


# ---------------------------------------------------------------------------- one order


def _hold(order: Order, hold_no: int) -> Hold | None:
    for hold in order.holds:
        if hold.hold_no == hold_no:
            return hold
    return None


def _held(order: Order) -> Hold | None:
    for hold in order.holds:
        if hold.status is HoldStatus.HELD:
            return hold
    return None


def _sold_or_held(order: Order) -> Hold | None:
    """The live hold; else the one already sold; else the last one, which says what went wrong."""
    sold = (hold for hold in order.holds if hold.status is HoldStatus.CONSUMED)
    return _held(order) or next(sold, None) or (order.holds[-1] if order.holds else None)


def _with_hold(
    so_far: Changed[Order],
    hold: Hold,
    *,
    tell: tuple[Event, ...] = (),
    on_hand: int = 0,
    reserved: int = 0,
) -> Changed[Order]:
    """The decision so far, and this hold as it is now.

    `on_hand` and `reserved` (-1, 0 or 1) say which way the units of its lines go.
    """
    order = so_far.state
    known = _hold(order, hold.hold_no)
    assert hold.status in NEXT[known.status if known else None], f"{known} -> {hold}"
    others = [other for other in order.holds if other is not known]
    holds = tuple(sorted([*others, hold], key=attrgetter("hold_no"))) if others else (hold,)
    order_id, hold_no = order.order_id, hold.hold_no
    moves = [
        StockMove(sku, on_hand * quantity, reserved * quantity, order_id, hold_no)
        for sku, quantity, *_ in hold.lines
    ]
    return Changed(altered(order, holds=holds), so_far.tell + tell, (*so_far.do, *moves))


# ---------------------------------------------------------------------------- the shelf


def after(shelf: Shelf, moves: Iterable[StockMove]) -> Shelf:
    """The shelf as these moves leave it; SKUs that are not on it are of no interest."""
    free = dict(shelf.free)
    _take(free, moves)
    return Shelf(shelf.offers, free)


def in_turn(
    shelf: Shelf, decide: Callable[[Order | None, C, Shelf], Decision[Order]]
) -> Callable[[Order | None, C], Decision[Order]]:
    """Decide cause after cause on what the ones before have left: who comes first is served first."""
    free = dict(shelf.free)
    left = Shelf(shelf.offers, free)

    def decide_next(order: Order | None, cause: C) -> Decision[Order]:
        outcome = decide(order, cause, left)
        if isinstance(outcome, Changed):
            _take(free, outcome.do)
        return outcome

    return decide_next


def _take(free: dict[str, int], moves: Iterable[StockMove]) -> None:
    for move in moves:
        if move.sku in free:
            free[move.sku] += move.on_hand - move.reserved


# ---------------------------------------------------------------------------- what people change


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Units somebody counted in or out, and why; with `vendor_id`, only if they are that vendor's goods."""

    id: UUID
    sku: str
    delta: int
    reason: str
    made_by: UUID
    vendor_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """The stock of one SKU; `is_new` until the first units come."""

    sku: str
    vendor_id: UUID
    on_hand: int
    reserved: int
    version: int
    is_new: bool


MovementKind: TypeAlias = Literal["opening", "received", "adjusted"]


def adjust(level: Level | None, adjustment: Adjustment) -> Level | Refused:
    """The level after a count; what is promised to somebody cannot be counted away."""
    if level is None or adjustment.vendor_id not in {None, level.vendor_id}:
        return Refused("NOT_FOUND", "There is no such SKU.")
    if level.on_hand + adjustment.delta < level.reserved:
        return Refused(
            "STOCK_WOULD_GO_NEGATIVE", f"{level.on_hand} on hand, {level.reserved} of them promised."
        )
    on_hand = level.on_hand + adjustment.delta
    return altered(level, on_hand=on_hand, version=level.version + 1, is_new=False)


def kind_of(level: Level, adjustment: Adjustment, *, counted: bool) -> MovementKind:
    """What the ledger calls it: a first stock, goods that arrived, or a person's correction (`counted`)."""
    if level.is_new and adjustment.delta > 0:
        return "opening"
    return "adjusted" if counted or adjustment.delta < 0 else "received"
