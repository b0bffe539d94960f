"""The moves of a checkout, named as in the stage table: small functions over values."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from contracts.event import Envelope
from contracts.orders import FinalizedItem, OrderCancelled, OrderExpired, OrderFinalized, OrderRevived
from services.chassis.decisions import Changed, Decision, Never, Refused, Unchanged, altered
from services.orders.domain.actor import SYSTEM, Actor
from services.orders.domain.checkout import (
    REVIVABLE_FOR,
    BlockShipping,
    Checkout,
    CreateOrder,
    Hold,
    Stage,
    TakeReturned,
    order_of,
    refusal,
    returned,
    wanted,
)
from services.orders.domain.order import Order


class Signal(StrEnum):
    """What may move a checkout: the columns of the table."""

    RESERVED = "reserved"
    REJECTED = "rejected"
    OPENED = "opened"
    RETURNED = "returned"
    DECLINED = "declined"
    FAILED = "failed"
    HELD = "held"
    CASES_CLOSED = "cases_closed"  # the last open case was closed
    VERIFIED = "verified"
    REFUNDED = "refunded"  # nothing is outstanding any more
    PHONE_CONFIRMED = "phone_confirmed"
    CANCEL = "cancel"
    TIME_IS_UP = "time_is_up"


class Why(NamedTuple):
    """What a move may need beside the state: where it comes from, who and when, and why."""

    signal: Signal
    cause: Envelope
    now: datetime
    was: Stage
    actor: Actor = SYSTEM
    reason: str = ""
    phone_confirmed: bool = False


Move: TypeAlias = Callable[[Checkout, Why], Decision[Checkout]]


# ----- moves, named as in the table


def fin(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """Fin: the order exists. What was back in the cart leaves it again."""
    if problem := refusal(checkout):
        give_up = can if checkout.method == "cod" else ref
        return give_up(checkout, why._replace(reason=problem))
    order = order_of(checkout, why.now)
    do: tuple[CreateOrder | TakeReturned, ...] = (CreateOrder(order, why.cause),)
    if checkout.lines_returned:
        do += (TakeReturned(checkout.order_id, checkout.customer_id),)
    confirmed = altered(checkout, stage=Stage.CONFIRMED, lines_returned=False, ended_at=None)
    return Changed(confirmed, (finalized_of(order),), do)


def finalized_of(order: Order) -> OrderFinalized:
    """The fact that this order exists; it was finalized when it was made."""
    return OrderFinalized(
        order_id=order.order_id,
        order_number=order.order_number,
        customer_id=order.customer_id,
        hold_no=order.hold_no,
        method=order.method,
        total_paisa=order.total_paisa,
        items=tuple(
            FinalizedItem(
                id=item.id,
                sku=item.sku,
                quantity=item.quantity,
                vendor_id=item.vendor_id,
                net_paisa=item.net_paisa,
                delivery_paisa=item.delivery_paisa,
            )
            for item in order.items
        ),
        finalized_at=order.created_at,
    )


def exp(checkout: Checkout, why: Why) -> Changed[Checkout]:
    """Exp: the hold ends; late money may still revive the checkout."""
    told = _expired(checkout, _why_expired(checkout, why))
    ended, do = returned(altered(checkout, stage=_unpaid(checkout)))
    return Changed(ended, (told,), do)


def exp_if_held(checkout: Checkout, why: Why) -> Changed[Checkout]:
    """Exp, told only while there is a hold to end."""
    expired = exp(checkout, why)
    return expired if checkout.hold is Hold.HELD else altered(expired, tell=())


def can(checkout: Checkout, why: Why) -> Changed[Checkout]:
    """Can: every hold ends, every charge goes back, present or future."""
    return _call_off(checkout, why, Stage.CANCELLED)


def ref(checkout: Checkout, why: Why) -> Changed[Checkout]:
    """Ref: like Can, and money is on its way back."""
    return _call_off(checkout, why, Stage.REFUND_PENDING)


def money_is_back(checkout: Checkout, why: Why) -> Changed[Checkout]:
    """All money went back while nobody had called the checkout off."""
    return _call_off(checkout, why, Stage.REFUNDED)


def rev(checkout: Checkout, _: Why) -> Changed[Checkout]:
    """Rev: late money; inventory is asked to hold the lines again, at the old price."""
    asked = altered(checkout, hold_no=checkout.hold_no + 1, hold=Hold.ASKED, stage=Stage.PROCESSING)
    revived = OrderRevived(
        order_id=asked.order_id,
        customer_id=asked.customer_id,
        method=asked.method,
        hold_no=asked.hold_no,
        pay_within_s=asked.pay_within_s,
        lines=wanted(asked.lines),
    )
    return Changed(asked, (revived,))


def rev_or_ref(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """Money after the end: young enough ends revive."""
    age = why.now - (checkout.ended_at or why.now)
    return rev(checkout, why) if age <= REVIVABLE_FOR else ref(checkout, why._replace(reason="paid_too_late"))


def paid_on_hold(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """The money a person was looking at is there."""
    match checkout.hold:
        case Hold.HELD:
            return fin(checkout, why)
        case Hold.NONE:
            return rev(checkout, why)
        case Hold.ASKED:
            return Changed(altered(checkout, stage=Stage.PROCESSING))


def fin_held(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """The revived lines are held again."""
    return fin(altered(checkout, hold=Hold.HELD), why)


def reject(checkout: Checkout, _: Why) -> Changed[Checkout]:
    """Nothing could be held: the checkout ends before it cost anything."""
    rejected, do = returned(altered(checkout, stage=Stage.REJECTED))
    return Changed(rejected, (), do)


def end_hold_stay(checkout: Checkout, _: Why) -> Decision[Checkout]:
    """A person looks for too long: the stock goes back on sale, the case stays open."""
    if checkout.hold is Hold.NONE:
        return Unchanged()
    return Changed(altered(checkout, hold=Hold.NONE), (_expired(checkout, "held_too_long"),))


def case_settled(checkout: Checkout, _: Why) -> Changed[Checkout]:
    """The last case was closed without money: go on waiting for it, or end when the hold has ended."""
    if checkout.hold is not Hold.NONE:
        return Changed(altered(checkout, stage=Stage.VERIFYING))
    ended, do = returned(altered(checkout, stage=_unpaid(checkout)))
    return Changed(ended, (), do)


def can_unpaid(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """Inventory never answered; a paid checkout waits for it all the same."""
    return can(checkout, why) if checkout.paid_at is None else Unchanged()


def block(checkout: Checkout, _: Why) -> Changed[Checkout]:
    """A case of a confirmed order: a reversal blocks shipping as long as it is open."""
    return Changed(checkout, (), (BlockShipping(checkout.order_id, checkout.is_reversed),))


def to(stage: Stage) -> Move:
    """Only the stage changes."""
    return lambda checkout, _: Changed(altered(checkout, stage=stage))


def hold_is(hold: Hold) -> Move:
    """Only what is known of the hold changes."""
    return lambda checkout, _: Changed(altered(checkout, hold=hold))


def no(code: str, detail: str) -> Move:
    """Refused, whoever asks."""
    return lambda *_: Refused(code, detail)


def alarm(checkout: Checkout, why: Why) -> Never:
    """It cannot happen unless one of us is wrong."""
    return Never(f"{why.signal} at {checkout.stage}")


def nothing(_: Checkout, __: Why) -> Unchanged:
    """The answer is the state it is in already."""
    return Unchanged()


def _call_off(checkout: Checkout, why: Why, stage: Stage) -> Changed[Checkout]:
    ended, do = returned(altered(checkout, stage=stage))
    reason = why.reason or why.signal.value
    told = OrderCancelled(order_id=checkout.order_id, finalized=False, reason=reason)
    return Changed(ended, (told,), do)


def _unpaid(checkout: Checkout) -> Stage:
    return Stage.PAYMENT_FAILED if checkout.declined else Stage.EXPIRED


def _why_expired(checkout: Checkout, why: Why) -> str:
    if why.was is Stage.AWAITING_PHONE:
        return "phone_unconfirmed"
    return "payment_failed" if checkout.declined else "unpaid"


def expired_of(checkout: Checkout) -> OrderExpired:
    """The fact that nobody paid for this checkout, which has ended."""
    return _expired(checkout, "payment_failed" if checkout.declined else "unpaid")


def _expired(checkout: Checkout, reason: str) -> OrderExpired:
    return OrderExpired.model_validate(
        {"order_id": checkout.order_id, "hold_no": checkout.hold_no, "reason": reason}
    )
