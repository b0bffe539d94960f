"""The stage table of the checkout: what each signal does in each stage, as data and small moves.

A fact is noted on the row first (rule 5: hints by `pay_seq`, money by `money_seq`, cases by their id), then
the table says which move follows. A signal without a cell moves nothing.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from contracts.inventory import StockRejected, StockReserved
from contracts.payments import (
    PaymentDeclined,
    PaymentFailed,
    PaymentHeld,
    PaymentOpened,
    PaymentRefunded,
    PaymentReturned,
    PaymentVerified,
)
from services.chassis.decisions import Changed, Decision, Never, Refused, Unchanged, altered
from services.orders.domain.checkout import (
    ENDED,
    PAYABLE,
    CancelCheckout,
    Checkout,
    ConfirmPhone,
    Hint,
    Hold,
    Stage,
    Step,
    TimeIsUp,
    deliveries_of,
    priced,
)
from services.orders.domain.moves import (
    Move,
    Signal,
    Why,
    alarm,
    block,
    can,
    can_unpaid,
    case_settled,
    end_hold_stay,
    exp,
    exp_if_held,
    fin,
    fin_held,
    hold_is,
    money_is_back,
    no,
    nothing,
    paid_on_hold,
    ref,
    reject,
    rev_or_ref,
    to,
)

HintEvent: TypeAlias = PaymentOpened | PaymentReturned | PaymentDeclined | PaymentFailed


def first_hold(checkout: Checkout, why: Why) -> Decision[Checkout]:
    """The lines are held: what came while reserving applies now."""
    held = altered(checkout, hold=Hold.HELD, held_at=why.now, stored=None)
    if checkout.method == "cod":
        return fin(held, why) if why.phone_confirmed else Changed(altered(held, stage=Stage.AWAITING_PHONE))
    if checkout.paid_at is not None:
        return _paid_early(held, why)
    stage = Stage.ON_HOLD if checkout.open_cases else Stage.AWAITING_PAYMENT
    moved = altered(held, stage=stage)
    follow = TABLE[stage].get(Signal(checkout.stored)) if checkout.stored else None
    return follow(moved, why) if follow else Changed(moved)


def _paid_early(checkout: Checkout, why: Why) -> Decision[Checkout]:
    if checkout.paid_paisa != checkout.total_paisa:
        return Never(f"verified {checkout.paid_paisa} paisa of {checkout.total_paisa}")
    return fin(checkout, why)


# ----- the table

_TOO_LATE = no("CHECKOUT_CLOSED", "This checkout can no longer be cancelled.")
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
        Signal.CANCEL: no("CHECKOUT_CLOSED", "The payment is being looked at; it cannot be cancelled now."),
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
        Signal.CANCEL: no("CHECKOUT_CLOSED", "The order exists already: cancel its items instead."),
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
    stepped = altered(
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
        noted = altered(
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
    noted = altered(checkout, refusals=reasons, hold=Hold.NONE) if waiting else checkout
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
    if _says_nothing(checkout, event):
        return Unchanged()
    kind: Hint = signal.value  # type: ignore[assignment]
    noted = altered(checkout, pay_seq=event.envelope.sequence, declined=_verdict(checkout, signal))
    if checkout.stage is Stage.RESERVING:
        noted = altered(noted, stored=kind)
    return apply(checkout, noted, Why(signal, event.envelope, now, checkout.stage))


def _says_nothing(checkout: Checkout, event: HintEvent) -> bool:
    """The usual case, a row not written: payments' first word ever, so no older one can come."""
    awaited = checkout.stage is Stage.AWAITING_PAYMENT and not checkout.declined
    return awaited and isinstance(event, PaymentOpened) and event.envelope.sequence == 1


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
    noted = altered(checkout, open_cases=cases)
    signal = Signal.HELD if event.open else Signal.CASES_CLOSED
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
    noted = altered(
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
    noted = altered(checkout, money_seq=sequence)
    if event.outstanding_paisa:
        return Changed(noted)
    return apply(checkout, noted, Why(Signal.REFUNDED, event.envelope, now, checkout.stage))


# ----- people and the clock


def cancel(checkout: Checkout | None, command: CancelCheckout, *, now: datetime) -> Decision[Checkout]:
    """The customer gives up their own checkout, as long as that is possible."""
    if checkout is None or (command.actor.type == "customer" and command.actor.id != checkout.customer_id):
        return Refused("NOT_FOUND", "There is no such checkout.")
    if command.version not in {None, checkout.version}:
        return Refused("STALE", f"The checkout is at version {checkout.version}.")
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
