"""Everything that can happen next: a message is heard, a timer fires, somebody does something."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple
from uuid import UUID

from contracts.payments import PaymentVerified
from services.chassis.decisions import Cause
from services.orders.domain import (
    Actor,
    CancelCheckout,
    ConfirmPhone,
    Hold,
    Item,
    ItemStatus,
    MoveItem,
    RollUp,
    Stage,
    TimeIsUp,
)
from services.payments.domain import (
    Attempt,
    Charge,
    ChargeKind,
    Intent,
    IntentStatus,
    LeftUnanswered,
    Observation,
    OpenAttempt,
    PayerReturned,
    RefundCharge,
    RefundDone,
    RefundStatus,
    ReversalStands,
    WindowClosed,
)
from services.payments.domain.intent import AttemptStatus, charge_of, open_cases
from services.payments.verdicts import Declined, InFlight, Mismatch, NotSeen, Paid, Verdict
from tests.support.saga.checks import money_is_gone
from tests.support.saga.deciding import new_attempt
from tests.support.saga.playing import Play
from tests.support.saga.world import (
    ADMIN,
    AFTER_CLOSE,
    CHANNELS,
    CUSTOMER,
    NOW,
    OF_PAYMENTS,
    ORDER,
    UNANSWERED,
    UNDECIDED,
    World,
)


class Move(NamedTuple):
    """One thing that can happen. What `must` be happens by itself, sooner or later."""

    label: str
    must: bool
    after: World


CANCEL: Final = CancelCheckout(ORDER, Actor("customer", CUSTOMER))
CONFIRM: Final = ConfirmPhone(ORDER, Actor("customer", CUSTOMER))
TIME_IS_UP: Final = TimeIsUp(ORDER)
ROLL_UP: Final = RollUp(ORDER)
WINDOW_OVER: Final = WindowClosed(ORDER, UNDECIDED, AFTER_CLOSE)
NOBODY_KNOWS: Final = WindowClosed(ORDER, UNDECIDED, AFTER_CLOSE, patience_s=0)
LEFT_UNANSWERED: Final = LeftUnanswered(ORDER, UNANSWERED)


def moves(play: Play, world: World) -> Iterator[Move]:
    """All that can happen now and changes anything, each in plain form."""
    yield from _heard(play, world)
    for source in (_checkout, _phone, _items, _gateway, _payments, _rival):
        for label, must, after in source(play, world):
            if after is not world:
                yield Move(label, must, play.settled(after))


def _heard(play: Play, world: World) -> Iterator[Move]:
    for number, waiting in enumerate(world.channels):
        if not waiting:
            continue
        service, event = CHANNELS[number]
        label = f"{service} hears {waiting[0].brief}"
        yield Move(label, must=True, after=play.settled(play.hear(world, number)))
        if event is PaymentVerified and world.checkout.stage in {Stage.EXPIRED, Stage.PAYMENT_FAILED}:
            late = play.settled(play.hear(world, number, late=True))
            yield Move(f"{label}, more than a day after the end", must=True, after=late)


# ----- orders: the customer, the clock, the phone


def _checkout(play: Play, world: World) -> Iterator[Move]:
    stage = world.checkout.stage
    if play.config.cancel:
        yield Move("the customer cancels", must=False, after=play.step(world, "cancel", CANCEL))
    if _is_due(play, world):
        after = play.step(world, "time_is_up", TIME_IS_UP)
        yield Move(f"orders' timer: {stage} for too long", must=True, after=after)
    if world.rollup_due:
        noted = world._replace(rollup_due=False)
        yield Move("orders hears item.* (roll-up)", must=True, after=play.step(noted, "roll_up", ROLL_UP))


def _is_due(play: Play, world: World) -> bool:
    """Whether a reconciler would find this checkout once enough time has passed."""
    checkout = world.checkout
    match checkout.stage:
        case Stage.RESERVING:
            return checkout.paid_at is None
        case Stage.AWAITING_PAYMENT | Stage.VERIFYING:
            return not (play.config.caught_up and any(world.channels[one] for one in OF_PAYMENTS))
        case Stage.ON_HOLD:
            return checkout.hold is not Hold.NONE
        case stage:
            return stage in {Stage.AWAITING_PHONE, Stage.PROCESSING}


def _phone(play: Play, world: World) -> Iterator[Move]:
    waiting = world.checkout.stage in {Stage.RESERVING, Stage.AWAITING_PHONE}
    if play.config.cod and world.phone == "unknown" and waiting:
        known = world._replace(phone="account")
        yield Move("the customer confirms the phone: the account", must=False, after=known)
    if world.phone == "account":
        done = world._replace(phone="confirmed")
        after = play.step(done, "confirm_phone", CONFIRM)
        yield Move("the confirmed phone: waiting checkouts", must=True, after=after)
        if play.config.lost_confirmation:
            yield Move("a process dies before it looks for waiting checkouts", must=False, after=done)


# ----- orders: items


@cache
def _move_item(item_id: UUID, to: ItemStatus, reason: str = "", cash: int | None = None) -> MoveItem:
    actor = Actor("admin", ADMIN)
    who = "courier" if cash is not None else None
    return MoveItem(ORDER, item_id, to, actor, reason, collected_paisa=cash, collector=who, proof_ref=who)


def _items(play: Play, world: World) -> Iterator[Move]:
    for item in world.order.items if world.order else ():
        if play.config.steps:
            yield from _steps(play, world, item)
        elif item.status is ItemStatus.PENDING and world.order and world.order.blocked:
            after = play.step(world, "move_item", _move_item(item.id, ItemStatus.CANCELLED))
            decides = play.config.any_reversal
            yield Move(f"an admin cancels {item.sku} of reversed money", must=decides, after=after)


def _steps(play: Play, world: World, item: Item) -> Iterator[Move]:
    def moved(to: ItemStatus, reason: str = "", cash: int | None = None) -> World:
        return play.step(world, "move_item", _move_item(item.id, to, reason, cash))

    if item.status is ItemStatus.PENDING:
        yield Move(f"the vendor ships {item.sku}", must=False, after=_shipped(play, world, item))
        yield Move(f"{item.sku} is cancelled", must=False, after=moved(ItemStatus.CANCELLED))
    if item.status is ItemStatus.SHIPPED:
        cash = item.refund_paisa if play.config.cod else None
        yield Move(f"{item.sku} is delivered", must=False, after=moved(ItemStatus.DELIVERED, cash=cash))
        refused = moved(ItemStatus.CANCELLED, "refused_at_door")
        yield Move(f"{item.sku} is refused at the door", must=False, after=refused)


def _shipped(play: Play, world: World, item: Item) -> World:
    """Packed and sent in one move: nobody hears of the packing. The same world when it must not ship."""
    packed = play.step(world, "move_item", _move_item(item.id, ItemStatus.PROCESSING))
    sent = play.step(packed, "move_item", _move_item(item.id, ItemStatus.SHIPPED))
    if sent is packed:
        return world
    if world.reversal_heard:
        return sent._replace(broken="shipped although orders has heard of an open reversal")
    if money_is_gone(world):
        return sent._replace(broken="shipped on money that is gone for good")
    return sent


# ----- the gateway and the payer


def _gateway(play: Play, world: World) -> Iterator[Move]:
    config = play.config
    for number, state in enumerate(world.gateway):
        asks = state in {"pending", "odd"}
        known = world.intent is not None and bool(charge_of(world.intent, new_attempt(number).id))
        running = state in {"open", "pending", "odd"}
        payable = running or (state == "dead" and config.soft)
        turns = [("paid", payable, asks), ("other", payable and config.mismatch, False)]
        turns += [("dead", running, asks), ("odd", state == "open" and config.odd, False)]
        turns += [("pending", state == "open" and config.pending, False)]
        for turn, possible, must in turns:
            if possible and not known:
                after = _with_gateway(world, number, turn)
                yield Move(f"the gateway: attempt {number + 1} is {turn}", must, after)


def _with_gateway(world: World, number: int, state: str) -> World:
    gateway = world.gateway
    return world._replace(gateway=(*gateway[:number], state, *gateway[number + 1 :]))


def _rival(play: Play, world: World) -> Iterator[Move]:
    pile = world.shelf[0]
    if play.config.rival and pile.on_hand > pile.reserved:
        bought = pile._replace(on_hand=pile.on_hand - 1, rival=pile.rival + 1)
        after = world._replace(shelf=(bought, *world.shelf[1:]))
        yield Move("somebody else buys the free unit", must=False, after=after)


# ----- payments


@cache
def _seen(attempt_id: UUID, verdict: Verdict, *, last: bool = False) -> Observation:
    """An answer of the gateway; cases and charges are named by the attempt and what was said."""
    number = attempt_id.int * 10 + isinstance(verdict, Declined)
    return Observation(ORDER, UUID(int=number), attempt_id, verdict, AFTER_CLOSE if last else NOW)


@cache
def _command(kind: Callable[..., Cause], *said: object) -> Cause:
    return kind(ORDER, *said)


def _payments(play: Play, world: World) -> Iterator[Move]:
    intent = world.intent
    if intent is None or not intent.attempts:
        return
    for number, attempt in enumerate(intent.attempts):
        yield from _lookups(play, world, number, attempt)
        if play.config.returns:
            yield from _returns(play, world, number, attempt)
    yield from _reversals(play, world)
    yield from _refunds(play, world)
    if intent.status is IntentStatus.AWAITING_PAYMENT:
        yield from _window(play, world, intent)
    if play.config.unanswered:
        after = play.step(world, "report_unanswered", LEFT_UNANSWERED)
        yield Move("payments' timer: unanswered for too long", must=True, after=after)


def _lookups(play: Play, world: World, number: int, attempt: Attempt) -> Iterator[Move]:
    """What the gateway says now. That there is nothing counts only when the window is over."""
    assert world.intent is not None
    awaited = world.intent.status is IntentStatus.AWAITING_PAYMENT
    suspected = attempt.status is AttemptStatus.MISMATCHED
    if charge_of(world.intent, attempt.id) is not None:
        return
    paisa, txn = attempt.amount_paisa, f"txn-{number}"
    asked = (False, True) if attempt.answered_at is None else (True,)  # time does not go back
    answers: dict[str, tuple[Verdict, tuple[bool, ...]]] = {
        "paid": (Paid(paisa, txn), (False,)),
        "odd": (Mismatch("reference"), (False,)),
        "other": (Mismatch("amount", paisa - 1, txn), (False,)),
        "pending": (InFlight(), (True,) if awaited else ()),
        "dead": (Declined(), asked if awaited else (False,) if suspected else ()),
        "open": (NotSeen(), (True,) if awaited else ()),
    }
    verdict, times = answers[world.gateway[number]]
    for last in times:
        after = play.step(world, "settle", _seen(attempt.id, verdict, last=last))
        when = "after the window" if last else ""
        label = f"payments asks about attempt {number + 1} {when}: {type(verdict).__name__}"
        yield Move(label.replace(" :", ":"), must=True, after=after)


def _returns(play: Play, world: World, number: int, attempt: Attempt) -> Iterator[Move]:
    if attempt.nudged_at is None and charge_of(world.intent, attempt.id) is None:  # type: ignore[arg-type]
        after = play.step(world, "hear_return", _command(PayerReturned, attempt.id, NOW))
        if after.channels != world.channels:
            yield Move(f"the payer returns from attempt {number + 1}", must=False, after=after)


def _reversals(play: Play, world: World) -> Iterator[Move]:
    """The gateway takes applied money back, and we ask; later it has it after all, or it is gone for good."""
    intent = world.intent
    assert intent is not None
    for number, attempt in enumerate(intent.attempts):
        charge = charge_of(intent, attempt.id)
        if charge is None or (charge.kind is not ChargeKind.APPLIED and not play.config.any_reversal):
            continue
        untouched = not any(
            one.charge_id == charge.id and one.status is RefundStatus.SUCCEEDED for one in intent.refunds
        )
        once = not any(case.reason == "reversed" for case in intent.cases)
        takes = play.config.reversal or play.config.any_reversal
        if takes and world.gateway[number] in {"paid", "other"} and untouched and once:
            taken = _with_gateway(world, number, "taken")
            after = play.step(taken, "settle", _seen(attempt.id, Declined()))
            yield Move(f"the gateway takes the money of attempt {number + 1} back", must=False, after=after)
        if world.gateway[number] == "taken" and open_cases(intent, "reversed"):
            state, verdict = _restored(charge)
            back = play.step(_with_gateway(world, number, state), "settle", _seen(attempt.id, verdict))
            yield Move("the gateway has the money after all", must=not play.config.any_reversal, after=back)
            gone = play.step(world, "uphold_reversal", _command(ReversalStands, charge.id))
            yield Move("an admin decides that the reversal stands", must=True, after=gone)


def _restored(charge: Charge) -> tuple[str, Verdict]:
    """What the gateway says of money that it has after all."""
    if charge.kind is ChargeKind.MISMATCH:
        return "other", Mismatch("amount", charge.amount_paisa, charge.txn_id)
    return "paid", Paid(charge.amount_paisa, charge.txn_id)


def _refunds(play: Play, world: World) -> Iterator[Move]:
    intent = world.intent
    assert intent is not None
    for refund in intent.refunds:
        if refund.status is RefundStatus.MANUAL_PENDING:
            done = play.step(world, "complete_refund", _command(RefundDone, refund.id, "evidence", "", ADMIN))
            yield Move(f"the refund of {refund.cause} is done", must=True, after=_gone_twice(done, refund.id))
    for case in open_cases(intent, "mismatch"):
        charge = charge_of(intent, case.attempt_id) if case.attempt_id else None
        if charge is not None:
            after = play.step(world, "refund_charge", _command(RefundCharge, charge.id))
            yield Move("an admin sends the other amount back", must=True, after=after)


def _gone_twice(after: World, refund_id: UUID) -> World:
    """Broken if this refund gave back what the gateway had taken back already."""
    intent = after.intent
    assert intent is not None
    refund = next(one for one in intent.refunds if one.id == refund_id)
    charge = next(one for one in intent.charges if one.id == refund.charge_id)
    number = next(place for place, one in enumerate(intent.attempts) if one.id == charge.attempt_id)
    if refund.status is RefundStatus.SUCCEEDED and after.gateway[number] == "taken":
        return after._replace(broken="refunded money that the gateway has taken back")
    return after


def _window(play: Play, world: World, intent: Intent) -> Iterator[Move]:
    unseen = any(
        state in {"paid", "other"} and charge_of(intent, attempt.id) is None
        for state, attempt in zip(world.gateway, intent.attempts, strict=True)
    )
    if len(intent.attempts) < play.config.attempts and not unseen:
        wanted = _another(len(intent.attempts))
        after = play.step(world, "open_attempt", wanted)
        yield Move("the customer opens another attempt", must=False, after=after)
    over = play.step(world, "close_window", WINDOW_OVER)
    yield Move("payments' timer: the window is over", must=True, after=over)
    if play.config.pending and over is world:
        nobody = play.step(world, "close_window", NOBODY_KNOWS)
        yield Move("payments' timer: undecided for too long", must=True, after=nobody)


@cache
def _another(number: int) -> OpenAttempt:
    return OpenAttempt(ORDER, new_attempt(number), NOW, cut_off_s=300, most=9)
