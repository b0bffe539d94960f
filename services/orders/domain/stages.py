"""The stage table of the checkout: what each signal does in each stage, as data and small moves.

A fact is noted on the row first (rule 5: hints by `pay_seq`, money by `money_seq`, cases by their id), then
the table says which move follows. A signal without a cell moves nothing.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

from contracts.event import Envelope
from contracts.inventory import StockRejected, StockReserved
from contracts.orders import FinalizedItem, OrderCancelled, OrderExpired, OrderFinalized, OrderRevived
from contracts.payments import (
    PaymentDeclined,
    PaymentFailed,
    PaymentHeld,
    PaymentOpened,
    PaymentRefunded,
    PaymentReturned,
    PaymentVerified,
)
from services.chassis.decisions import Changed, Decision, Never, Refused, Unchanged
from services.orders.domain.actor import SYSTEM, Actor
from services.orders.domain.checkout import (
    ENDED,
    PAYABLE,
    REVIVABLE_FOR,
    BlockShipping,
    CancelCheckout,
    Checkout,
    ConfirmPhone,
    CreateOrder,
    Hint,
    Hold,
    Stage,
    Step,
    TakeReturned,
    TimeIsUp,
    deliveries_of,
    order_of,
    priced,
    refusal,
    returned,
    wanted,
)

HintEvent: TypeAlias = PaymentOpened | PaymentReturned | PaymentDeclined | PaymentFailed


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


@dataclass(frozen=True, slots=True)
class Why:
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
        return give_up(checkout, replace(why, reason=problem))
    order = order_of(checkout, why.now)
    finalized = OrderFinalized(
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
        finalized_at=why.now,
    )
    do: tuple[CreateOrder | TakeReturned, ...] = (CreateOrder(order, why.cause),)
    if checkout.lines_returned:
        do += (TakeReturned(checkout.order_id, checkout.customer_id),)
    confirmed = replace(checkout, stage=Stage.CONFIRMED, lines_returned=False, ended_at=None)
    return Changed(confirmed, (finalized,), do)


def exp(checkout: Checkout, why: Why) -> Changed[Checkout]:
    """Exp: the hold ends; late money may still revive the checkout."""
    told = _expired(checkout, _why_expired(checkout, why))
    ended, do = returned(replace(checkout, stage=_unpaid(checkout)))
    return Changed(ended, (told,), do)


def exp_if_held(checkout: Checkout, why: Why) -> Changed[Checkout]:
    """Exp, told only while there is a hold to end."""
    expired = exp(checkout, why)
    return expired if checkout.hold is Hold.HELD else replace(expired, tell=())


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
    asked = replace(checkout, hold_no=checkout.hold_no + 1, hold=Hold.ASKED, stage=Stage.PROCESSING)
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
    return rev(checkout, why) if age <= REVIVABLE_FOR else ref(checkout, replace(why, reason="paid_too_late"))


def paid_on_hold(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """The money a person was looking at is there."""
    match checkout.hold:
        case Hold.HELD:
            return fin(checkout, why)
        case Hold.NONE:
            return rev(checkout, why)
        case Hold.ASKED:
            return Changed(replace(checkout, stage=Stage.PROCESSING))


def first_hold(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """The lines are held: what came while reserving applies now."""
    held = replace(checkout, hold=Hold.HELD, held_at=why.now, stored=None)
    if checkout.method == "cod":
        return fin(held, why) if why.phone_confirmed else Changed(replace(held, stage=Stage.AWAITING_PHONE))
    if checkout.paid_at is not None:
        return _paid_early(held, why)
    stage = Stage.ON_HOLD if checkout.open_cases else Stage.AWAITING_PAYMENT
    moved = replace(held, stage=stage)
    follow = TABLE[stage].get(Signal(checkout.stored)) if checkout.stored else None
    return follow(moved, why) if follow else Changed(moved)


def _paid_early(checkout: Checkout, why: Why) -> Decision[Checkout]:
    if checkout.paid_paisa != checkout.total_paisa:
        return Never(f"verified {checkout.paid_paisa} paisa of {checkout.total_paisa}")
    return fin(checkout, why)


def fin_held(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """The revived lines are held again."""
    return fin(replace(checkout, hold=Hold.HELD), why)


def reject(checkout: Checkout, _: Why) -> Changed[Checkout]:
    """Nothing could be held: the checkout ends before it cost anything."""
    rejected, do = returned(replace(checkout, stage=Stage.REJECTED))
    return Changed(rejected, (), do)


def end_hold_stay(checkout: Checkout, _: Why) -> Decision[Checkout]:
    """A person looks for too long: the stock goes back on sale, the case stays open."""
    if checkout.hold is Hold.NONE:
        return Unchanged()
    return Changed(replace(checkout, hold=Hold.NONE), (_expired(checkout, "held_too_long"),))


def case_settled(checkout: Checkout, _: Why) -> Changed[Checkout]:
    """The last case was closed without money: go on waiting for it, or end when the hold has ended."""
    if checkout.hold is not Hold.NONE:
        return Changed(replace(checkout, stage=Stage.VERIFYING))
    ended, do = returned(replace(checkout, stage=_unpaid(checkout)))
    return Changed(ended, (), do)


def can_unpaid(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """Inventory never answered; a paid checkout waits for it all the same."""
    return can(checkout, why) if checkout.paid_at is None else Unchanged()


def block(checkout: Checkout, _: Why) -> Changed[Checkout]:
    """A case of a confirmed order: a reversal blocks shipping as long as it is open."""
    return Changed(checkout, (), (BlockShipping(checkout.order_id, checkout.is_reversed),))


def to(stage: Stage) -> Move:
    """Only the stage changes."""
    return lambda checkout, _: Changed(replace(checkout, stage=stage))


def hold_is(hold: Hold) -> Move:
    """Only what is known of the hold changes."""
    return lambda checkout, _: Changed(replace(checkout, hold=hold))


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
    ended, do = returned(replace(checkout, stage=stage))
    reason = why.reason or why.signal.value
    told = OrderCancelled(order_id=checkout.order_id, finalized=False, reason=reason)
    return Changed(ended, (told,), do)


def _unpaid(checkout: Checkout) -> Stage:
    return Stage.PAYMENT_FAILED if checkout.declined else Stage.EXPIRED


def _why_expired(checkout: Checkout, why: Why) -> str:
    if why.was is Stage.AWAITING_PHONE:
        return "phone_unconfirmed"
    return "payment_failed" if checkout.declined else "unpaid"


def _expired(checkout: Checkout, reason: str) -> OrderExpired:
    return OrderExpired.model_validate(
        {"order_id": checkout.order_id, "hold_no": checkout.hold_no, "reason": reason}
    )


# ----- the table

_TOO_LATE = no("CHECKOUT_ENDED", "This checkout can no longer be cancelled.")
_WAITING: Final[Mapping[Signal, Move]] = {
    Signal.HELD: to(Stage.ON_HOLD),
    Signal.FAILED: exp,
    Signal.VERIFIED: fin,
    Signal.CANCEL: can,
    Signal.TIME_IS_UP: exp,
}
_UNPAID: Final[Mapping[Signal, Move]] = {
    Signal.HELD: to(Stage.ON_HOLD),
    Signal.VERIFIED: rev_or_ref,
    Signal.REFUNDED: money_is_back,
    Signal.CANCEL: _TOO_LATE,
}

TABLE: Final[Mapping[Stage, Mapping[Signal, Move]]] = {
    Stage.RESERVING: {
        Signal.RESERVED: first_hold,
        Signal.REJECTED: reject,
        Signal.CANCEL: can,
        Signal.TIME_IS_UP: can_unpaid,
    },
    Stage.AWAITING_PHONE: {
        Signal.PHONE_CONFIRMED: fin,
        Signal.VERIFIED: alarm,
        Signal.CANCEL: can,
        Signal.TIME_IS_UP: exp,
    },
    Stage.AWAITING_PAYMENT: {**_WAITING, Signal.RETURNED: to(Stage.VERIFYING)},
    Stage.VERIFYING: {
        **_WAITING,
        Signal.OPENED: to(Stage.AWAITING_PAYMENT),
        Signal.DECLINED: to(Stage.AWAITING_PAYMENT),
    },
    Stage.ON_HOLD: {
        Signal.RESERVED: hold_is(Hold.HELD),
        Signal.REJECTED: hold_is(Hold.NONE),
        Signal.FAILED: exp_if_held,
        Signal.CASES_CLOSED: case_settled,
        Signal.VERIFIED: paid_on_hold,
        Signal.REFUNDED: money_is_back,
        Signal.CANCEL: no("UNDER_REVIEW", "The payment is being looked at; it cannot be cancelled now."),
        Signal.TIME_IS_UP: end_hold_stay,
    },
    Stage.EXPIRED: _UNPAID,
    Stage.PAYMENT_FAILED: _UNPAID,
    Stage.PROCESSING: {
        Signal.RESERVED: fin_held,
        Signal.REJECTED: ref,
        Signal.CANCEL: ref,
        Signal.TIME_IS_UP: ref,
    },
    Stage.CONFIRMED: {
        Signal.HELD: block,
        Signal.CASES_CLOSED: block,
        Signal.CANCEL: no("ORDER_EXISTS", "The order exists already: cancel its items instead."),
    },
    Stage.REJECTED: {Signal.VERIFIED: alarm, Signal.CANCEL: _TOO_LATE},
    Stage.CANCELLED: {
        Signal.VERIFIED: to(Stage.REFUND_PENDING),
        Signal.REFUNDED: to(Stage.REFUNDED),
        Signal.CANCEL: nothing,
    },
    Stage.REFUND_PENDING: {Signal.REFUNDED: to(Stage.REFUNDED), Signal.CANCEL: _TOO_LATE},
    Stage.REFUNDED: {Signal.VERIFIED: to(Stage.REFUND_PENDING), Signal.CANCEL: _TOO_LATE},
}
"""Stage by signal, as the saga's page has it."""

NEWEST_MONEY_DECIDES: Final = frozenset({Stage.CANCELLED, Stage.REFUND_PENDING, Stage.REFUNDED})
"""Here `payment.verified` moves only when it is newer than what money said last; refunds always need that."""


def apply(before: Checkout, noted: Checkout, why: Why) -> Decision[Checkout]:
    """What the table says to this signal, with the step it makes in the history.

    `noted` is the state with the fact already written on it; a signal without a cell keeps that note.
    """
    move = TABLE[noted.stage].get(why.signal)
    outcome = move(noted, why) if move else Changed(noted)
    if not isinstance(outcome, Changed):
        return Changed(noted) if isinstance(outcome, Unchanged) and noted != before else outcome
    after = outcome.state
    if after.stage is before.stage:
        return Unchanged() if after == before and not outcome.tell else outcome
    stepped = replace(
        after,
        version=before.version + 1,
        since=(after.held_at if after.stage in PAYABLE else None) or why.now,
        ended_at=why.now if after.stage in ENDED else after.ended_at,
    )
    reason = why.reason or why.signal.value
    step = Step(before.order_id, stepped.version, before.stage, stepped.stage, why.cause, why.actor, reason)
    return Changed(stepped, outcome.tell, (step, *outcome.do))


# ----- stock


def accept_reservation(
    checkout: Checkout | None, event: StockReserved, *, now: datetime, confirmed_phones: Collection[UUID] = ()
) -> Decision[Checkout]:
    """Inventory holds the lines. The first hold also brings the prices, which never change again."""
    if checkout is None:
        return Never("stock.reserved for a checkout that does not exist")
    if event.hold_no != checkout.hold_no:
        return Unchanged()
    noted = checkout
    if checkout.stage is Stage.RESERVING:
        held = {
            line.sku: (line.quantity, line.price_paisa, line.vendor_id, line.slug, line.title)
            for line in event.lines
        }
        noted = replace(
            checkout,
            lines=priced(checkout, held),
            deliveries=deliveries_of(event.deliveries),
            total_paisa=event.total_paisa,
        )
    phone = checkout.customer_id in confirmed_phones
    why = Why(Signal.RESERVED, event.envelope, now, checkout.stage, phone_confirmed=phone)
    return apply(checkout, noted, why)


def accept_rejection(checkout: Checkout | None, event: StockRejected, *, now: datetime) -> Decision[Checkout]:
    """Inventory holds nothing; the reasons stay with the checkout."""
    if checkout is None:
        return Never("stock.rejected for a checkout that does not exist")
    if event.hold_no != checkout.hold_no:
        return Unchanged()
    waiting = checkout.stage in {Stage.RESERVING, Stage.ON_HOLD, Stage.PROCESSING}
    reasons = tuple((line.sku, line.code) for line in event.lines)
    noted = replace(checkout, refusals=reasons, hold=Hold.NONE) if waiting else checkout
    why = Why(Signal.REJECTED, event.envelope, now, checkout.stage, reason="out_of_stock")
    return apply(checkout, noted, why)


# ----- hints


def hear_hint(checkout: Checkout | None, event: HintEvent, *, now: datetime) -> Decision[Checkout]:
    """A hint counts unless a newer one was heard; while reserving the newest is kept for later."""
    if checkout is None:
        return Never(f"{event.TOPIC} for a checkout that does not exist")
    if event.envelope.sequence <= checkout.pay_seq:
        return Unchanged()
    signal = Signal(event.TOPIC.removeprefix("payment."))
    kind: Hint = signal.value  # type: ignore[assignment]
    noted = replace(checkout, pay_seq=event.envelope.sequence, declined=_verdict(checkout, signal))
    if checkout.stage is Stage.RESERVING:
        noted = replace(noted, stored=kind)
    return apply(checkout, noted, Why(signal, event.envelope, now, checkout.stage))


def _verdict(checkout: Checkout, signal: Signal) -> bool:
    """Whether the last verdict on an attempt was a refusal."""
    if signal in {Signal.OPENED, Signal.DECLINED}:
        return signal is Signal.DECLINED
    return checkout.declined


# ----- cases and money


def hold_payment(checkout: Checkout | None, event: PaymentHeld, *, now: datetime) -> Decision[Checkout]:
    """A case was opened or closed: which ones are open is kept by their ids, in every stage."""
    if checkout is None:
        return Never("payment.held for a checkout that does not exist")
    case = (event.case_id, event.reason)
    cases = checkout.open_cases | {case} if event.open else checkout.open_cases - {case}
    if cases == checkout.open_cases:
        return Unchanged()
    noted = replace(checkout, open_cases=cases)
    signal = Signal.HELD if event.open or cases else Signal.CASES_CLOSED
    if event.open or not cases or checkout.stage is Stage.CONFIRMED:
        return apply(checkout, noted, Why(signal, event.envelope, now, checkout.stage, reason=event.reason))
    return Changed(noted)


def accept_payment(checkout: Checkout | None, event: PaymentVerified, *, now: datetime) -> Decision[Checkout]:
    """A verified payment finalizes the checkout, revives it, or will go back."""
    if checkout is None:
        return Never("payment.verified for a checkout that does not exist")
    if checkout.total_paisa is not None and event.amount_paisa != checkout.total_paisa:
        return Never(f"verified {event.amount_paisa} paisa of {checkout.total_paisa}")
    sequence = event.envelope.sequence
    if checkout.stage in NEWEST_MONEY_DECIDES and sequence <= checkout.money_seq:
        return Unchanged()
    noted = replace(
        checkout,
        method=event.provider if checkout.stage is not Stage.CONFIRMED else checkout.method,
        paid_at=checkout.paid_at or now,
        paid_paisa=event.amount_paisa,
        money_seq=max(sequence, checkout.money_seq),
    )
    return apply(checkout, noted, Why(Signal.VERIFIED, event.envelope, now, checkout.stage))


def accept_refund(checkout: Checkout | None, event: PaymentRefunded, *, now: datetime) -> Decision[Checkout]:
    """Money went back; once nothing is outstanding, a checkout without an order is refunded."""
    if checkout is None:
        return Never("payment.refunded for a checkout that does not exist")
    sequence = event.envelope.sequence
    if sequence <= checkout.money_seq:
        return Unchanged()
    noted = replace(checkout, money_seq=sequence)
    if event.outstanding_paisa:
        return Changed(noted)
    return apply(checkout, noted, Why(Signal.REFUNDED, event.envelope, now, checkout.stage))


# ----- people and the clock


def cancel(checkout: Checkout | None, command: CancelCheckout, *, now: datetime) -> Decision[Checkout]:
    """The customer gives up their own checkout, as long as that is possible."""
    if checkout is None or (command.actor.type == "customer" and command.actor.id != checkout.customer_id):
        return Refused("NOT_FOUND", "There is no such checkout.")
    if command.version not in {None, checkout.version}:
        return Refused("STALE_VERSION", f"The checkout is at version {checkout.version}.")
    reason = f"{command.actor.type}_cancelled"
    why = Why(Signal.CANCEL, command.envelope, now, checkout.stage, command.actor, reason)
    return apply(checkout, checkout, why)


def confirm_phone(checkout: Checkout | None, command: ConfirmPhone, *, now: datetime) -> Decision[Checkout]:
    """A confirmed phone lets a cash-on-delivery checkout become an order."""
    if checkout is None:
        return Refused("NOT_FOUND", "There is no such checkout.")
    why = Why(Signal.PHONE_CONFIRMED, command.envelope, now, checkout.stage, command.actor)
    return apply(checkout, checkout, why)


def time_is_up(checkout: Checkout | None, command: TimeIsUp, *, now: datetime) -> Decision[Checkout]:
    """The limit of the present stage has passed; whoever asks has made sure of that under the lock."""
    if checkout is None:
        return Unchanged()
    why = Why(Signal.TIME_IS_UP, command.envelope, now, checkout.stage, reason=f"{checkout.stage}_too_long")
    return apply(checkout, checkout, why)
