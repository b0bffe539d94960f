"""The promises: what is true in every world, and what is true once nothing can move by itself any more."""

from collections.abc import Iterator
from typing import Final

from contracts.orders import OrderExpired
from services.inventory.domain import Hold as StockHold
from services.inventory.domain import HoldStatus
from services.orders.domain import Hold, Item, ItemStatus, OrderStatus, Stage
from services.payments.domain import Charge, ChargeKind, Intent, IntentStatus, Refund, RefundStatus
from services.payments.domain.intent import applied_charge
from services.payments.domain.refunds import is_gone
from tests.support.saga.world import HEARERS, Config, World, place_of

FINAL: Final = frozenset(
    {
        Stage.CONFIRMED,
        Stage.REJECTED,
        Stage.EXPIRED,
        Stage.PAYMENT_FAILED,
        Stage.CANCELLED,
        Stage.REFUNDED,
    }
)
WAITING: Final = frozenset({Stage.AWAITING_PAYMENT, Stage.VERIFYING, Stage.ON_HOLD})
OPEN_ITEM: Final = frozenset({ItemStatus.PENDING, ItemStatus.PROCESSING, ItemStatus.SHIPPED})
AGREEING: Final[dict[Stage, frozenset[str]]] = {
    Stage.CONFIRMED: frozenset({"finalized"}),
    Stage.REJECTED: frozenset({"none"}),
    Stage.EXPIRED: frozenset({"EXPIRED"}),
    Stage.PAYMENT_FAILED: frozenset({"EXPIRED"}),
    Stage.CANCELLED: frozenset({"CANCELLED"}),
    Stage.REFUNDED: frozenset({"CANCELLED"}),
}
"""What payments may make of a checkout that has come to rest."""


def always(world: World, config: Config) -> Iterator[str]:
    """What is broken in this world."""
    if world.broken:
        yield world.broken
    yield from _one_story(world)
    yield from _stock(world)
    yield from _holds(world)
    if world.intent is not None:
        yield from _money(world, world.intent, config)
    if world.cod_orders != int(world.checkout.cod_active):
        yield "cash: the account counts another number of active orders"


def at_rest(world: World, config: Config) -> Iterator[str]:
    """What is broken although nothing can move by itself any more."""
    if world.checkout.stage not in FINAL:
        yield f"stuck in {world.checkout.stage}"
    if world.intent is not None:
        yield from _money_at_rest(world, world.intent)
    if any(hold.status is HoldStatus.HELD for hold in _all_holds(world)):
        yield f"stock: a hold is left behind at {world.checkout.stage}"
    if world.in_cart == (world.order is not None):
        yield f"cart: the lines are {'back' if world.in_cart else 'gone'} at {world.checkout.stage}"
    if world.order is not None:
        yield from _order_at_rest(world, config)
    elif world.cod_orders:
        yield "cash: the place of an order that never was is still taken"
    yield from _agreement(world, config)


# ----- in every world


def _one_story(world: World) -> Iterator[str]:
    checkout = world.checkout
    if (checkout.stage is Stage.CONFIRMED) != (world.order is not None):
        yield f"an order exists: {world.order is not None}, but the checkout is {checkout.stage}"
    if world.order is not None and world.in_cart:
        yield "cart: the lines are bought and in the cart"
    if checkout.hold_no > 2:
        yield "revived more than once"
    if checkout.stage is Stage.ON_HOLD and checkout.hold is Hold.ASKED:
        yield "on hold with a hold that is only asked for"


def _stock(world: World) -> Iterator[str]:
    held, sold = _units(world, HoldStatus.HELD), _units(world, HoldStatus.CONSUMED)
    back = _returned(world)
    for number, pile in enumerate(world.shelf):
        if not 0 <= pile.reserved <= pile.on_hand:
            yield "stock: promised units are not within 0 and what is on hand"
        if pile.on_hand + sold.count(number) - back.count(number) + pile.rival != 1:
            yield "stock: units appeared or vanished"
        if pile.reserved != held.count(number):
            yield "stock: what is reserved is not what live holds sum up to"
        if back.count(number) > 1:
            yield "stock: an item came back twice"


def _holds(world: World) -> Iterator[str]:
    holds = {hold.hold_no: hold.status for hold in _all_holds(world)}
    checkout = world.checkout
    if list(holds.values()).count(HoldStatus.HELD) > 1:
        yield "stock: two live holds"
    if world.order is not None and holds.get(world.order.hold_no) not in {
        HoldStatus.HELD,
        HoldStatus.CONSUMED,
    }:
        yield "stock: an order without a hold (oversold)"
    if checkout.stage in WAITING and checkout.hold is Hold.HELD:
        if holds.get(checkout.hold_no) is not HoldStatus.HELD:
            yield "orders believes in a hold that inventory has ended"
        if checkout.hold_no in _expiring(world):
            yield "orders believes in a hold that it has ended itself"


def _money(world: World, intent: Intent, config: Config) -> Iterator[str]:
    applied = [charge for charge in intent.charges if charge.kind is ChargeKind.APPLIED]
    if world.order is not None and not config.cod and len(applied) != 1:
        yield "money: an order that is not paid exactly once"
    if world.order is not None and any(
        refund.cause != "item" and refund.status is not RefundStatus.REJECTED
        for charge in applied
        for refund in _refunds(intent, charge)
    ):
        yield "money: the money of an order is on its way back as a whole"
    if any(_back(intent, charge) > charge.amount_paisa for charge in intent.charges):
        yield "money: more is given back than was paid"
    if (
        world.checkout.stage is Stage.REFUNDED
        and world.checkout.paid_at
        and not _all_verified_is_back(intent)
    ):
        yield "refunded, although verified money that orders knows of is not back"


def _all_verified_is_back(intent: Intent) -> bool:
    verified = [one for one in intent.charges if one.kind in {ChargeKind.APPLIED, ChargeKind.LATE}]
    return all(is_gone(intent, one) or _is_back(intent, one) for one in verified)


# ----- at rest


def _money_at_rest(world: World, intent: Intent) -> Iterator[str]:
    known = {charge.attempt_id for charge in intent.charges}
    for state, attempt in zip(world.gateway, intent.attempts, strict=True):
        if state in {"paid", "other"} and attempt.id not in known:
            yield "money: a charge nobody knows of"
    for charge in intent.charges:
        used = world.order is not None and charge.kind is ChargeKind.APPLIED and intent.answer == "finalized"
        if not used and not is_gone(intent, charge) and not _is_back(intent, charge):
            yield f"money: a charge of kind {charge.kind} is lost at {world.checkout.stage}"
        if world.checkout.stage is Stage.CANCELLED and charge.kind in {ChargeKind.APPLIED, ChargeKind.LATE}:
            yield "cancelled, although verified money went back"
    for case in intent.cases:
        if case.open:
            yield f"a case of {case.reason} never closes at {world.checkout.stage}"


def _order_at_rest(world: World, config: Config) -> Iterator[str]:
    order = world.order
    assert order is not None
    holds = {hold.hold_no: hold.status for hold in _all_holds(world)}
    if holds.get(order.hold_no) is not HoldStatus.CONSUMED:
        yield "stock: the hold of an order is not sold"
    back = _returned(world)
    for item in order.items:
        if (item.status is ItemStatus.CANCELLED) != (place_of(item.sku) in back):
            yield "stock: a cancelled item did not come back exactly once"
        if not config.cod and not _item_money_is_right(world, item):
            yield "money: an item was cancelled and not refunded, or the other way round"
    if order.status is not _status(order.items):
        yield "the order's status is not what its items say"
    if world.cod_orders != int(config.cod and order.status is OrderStatus.CONFIRMED):
        yield "cash: the account counts an order that is final, or not one that is open"
    if order.blocked and not _open_reversal(world):
        yield "shipping is blocked although no case is open"
    if money_is_gone(world) and any(item.status is ItemStatus.PENDING for item in order.items):
        yield "money: an order may ship although its money is gone for good"


def _agreement(world: World, config: Config) -> Iterator[str]:
    stage, intent = world.checkout.stage, world.intent
    said = "none"
    if intent is not None:
        said = "finalized" if intent.answer == "finalized" else intent.status.value
    if config.cod and stage is not Stage.CANCELLED:
        if intent is not None:
            yield f"cash at {stage}, but payments has an intent that is {said}"
    elif stage in AGREEING and said not in AGREEING[stage]:
        yield f"the checkout is {stage}, but the payment is {said}"
    if intent is not None and intent.status is IntentStatus.SUCCEEDED and intent.answer is None:
        yield "money has no answer of orders"


# ----- what the promises are about


def _all_holds(world: World) -> tuple[StockHold, ...]:
    return world.stock.holds if world.stock else ()


def money_is_gone(world: World) -> bool:
    """Whether the gateway took the order's money back and somebody has decided that it stays so."""
    charge = applied_charge(world.intent) if world.intent else None
    return charge is not None and world.intent is not None and is_gone(world.intent, charge)


def _units(world: World, status: HoldStatus) -> list[int]:
    """The pile of every unit in holds of this status."""
    live = [hold for hold in _all_holds(world) if hold.status is status]
    return [place_of(line.sku) for hold in live for line in hold.lines]


def _returned(world: World) -> list[int]:
    """The pile of every unit that came back from the order."""
    stock, checkout = world.stock, world.checkout
    back = stock.returned if stock else frozenset()
    return [place_of(line.sku) for line in checkout.lines if line.id in back]


def _expiring(world: World) -> set[int]:
    """The holds whose end is on its way to inventory."""
    (channel,) = HEARERS[OrderExpired]
    return {one.event.hold_no for one in world.channels[channel] if isinstance(one.event, OrderExpired)}


def _refunds(intent: Intent, charge: Charge) -> list[Refund]:
    return [refund for refund in intent.refunds if refund.charge_id == charge.id]


def _back(intent: Intent, charge: Charge) -> int:
    """What went back of this charge, or is to go (paisa)."""
    going = [one for one in _refunds(intent, charge) if one.status is not RefundStatus.REJECTED]
    return sum(one.amount_paisa for one in going)


def _is_back(intent: Intent, charge: Charge) -> bool:
    done = [one for one in _refunds(intent, charge) if one.status is RefundStatus.SUCCEEDED]
    return sum(one.amount_paisa for one in done) == charge.amount_paisa


def _item_money_is_right(world: World, item: Item) -> bool:
    intent = world.intent
    refunds = [one for one in intent.refunds if one.id == item.id] if intent else []
    given = any(one.status is RefundStatus.SUCCEEDED for one in refunds) or money_is_gone(world)
    return given if item.status is ItemStatus.CANCELLED else not refunds


def _status(items: tuple[Item, ...]) -> OrderStatus:
    found = {item.status for item in items}
    if found & OPEN_ITEM:
        return OrderStatus.CONFIRMED
    return OrderStatus.DELIVERED if ItemStatus.DELIVERED in found else OrderStatus.CANCELLED


def _open_reversal(world: World) -> bool:
    intent = world.intent
    return intent is not None and any(one.open and one.reason == "reversed" for one in intent.cases)
