"""The rules of the saga left out one at a time: the real domain, patched where a rule is expressed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pytest import MonkeyPatch  # noqa: PT013 - only the name of a type

from contracts.orders import OrderFinalized
from contracts.payments import PaymentHeld, PaymentRefunded, PaymentReturned, PaymentVerified
from services.chassis.decisions import Changed, Decision, Never, Unchanged
from services.inventory import domain as inventory
from services.orders.domain import Checkout, ReleaseCod, ReturnLines, Signal, Stage, moves, stages
from services.payments.domain import Charge, ChargeKind, Intent, PayerReturned, RefundDone, refunds, window
from services.payments.domain.intent import attempt_of
from tests.support.saga.configs import lean
from tests.support.saga.world import Config

Patch = Callable[[MonkeyPatch], None]
Do = tuple[ReturnLines | ReleaseCod, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One rule, how the domain forgets it, where that shows, and the promise it breaks first."""

    rule: str
    forget: Patch
    config: Config
    breaks: str


def _cell(stage: Stage, signal: Signal, move: moves.Move) -> Patch:
    """Another cell in the stage table."""
    return lambda patch: patch.setitem(stages.TABLE[stage], signal, move)


def _function(owner: object, name: str, made: Callable[[Any], Any]) -> Patch:
    """Another function, made of the real one."""
    return lambda patch: patch.setattr(owner, name, made(getattr(owner, name)))


# ----- orders


def _keeps_the_hold(real: Callable[[Checkout], tuple[Checkout, Do]]) -> object:
    def returned(checkout: Checkout) -> tuple[Checkout, Do]:
        ended, do = real(checkout)
        return replace(ended, hold=checkout.hold), do

    return returned


def _returns_lines_always(real: Callable[[Checkout], tuple[Checkout, Do]]) -> object:
    return lambda checkout: real(replace(checkout, lines_returned=False))


def _hears_cases_as_hints(real: Callable[..., Decision[Checkout]]) -> object:
    """Only newer than the newest hint, and only the newest case is known."""

    def hold_payment(checkout: Checkout, event: PaymentHeld, *, now: datetime) -> Decision[Checkout]:
        if event.envelope.sequence <= checkout.pay_seq:
            return Unchanged()
        known = frozenset({(event.case_id, event.reason)})
        noted = replace(
            checkout, pay_seq=event.envelope.sequence, open_cases=frozenset() if event.open else known
        )
        outcome = real(noted, event, now=now)
        return Changed(noted) if isinstance(outcome, Unchanged) else outcome

    return hold_payment


def _counts_only_some_causes(real: Callable[..., Decision[Checkout]]) -> object:
    def accept_refund(checkout: Checkout, event: PaymentRefunded, *, now: datetime) -> Decision[Checkout]:
        if event.cause in {"surplus", "item"}:
            return Changed(replace(checkout, money_seq=max(checkout.money_seq, event.envelope.sequence)))
        return real(checkout, event, now=now)

    return accept_refund


def _forgets_when_money_spoke(real: Callable[..., Decision[Checkout]]) -> object:
    def accept(
        checkout: Checkout, event: PaymentVerified | PaymentRefunded, *, now: datetime
    ) -> Decision[Checkout]:
        return real(replace(checkout, money_seq=0), event, now=now)

    return accept


def _without_money_seq(patch: MonkeyPatch) -> None:
    _function(stages, "accept_payment", _forgets_when_money_spoke)(patch)
    _function(stages, "accept_refund", _forgets_when_money_spoke)(patch)


def _reversal_stops_processing(checkout: Checkout, _: moves.Why) -> Changed[Checkout]:
    stage = Stage.ON_HOLD if checkout.is_reversed else checkout.stage
    return Changed(replace(checkout, stage=stage))


# ----- inventory


def _alarms_when_sold_already(real: Callable[..., Decision[inventory.Order]]) -> object:
    def sell(order: inventory.Order | None, cause: Any) -> Decision[inventory.Order]:  # noqa: ANN401
        outcome = real(order, cause)
        known = isinstance(cause, OrderFinalized) and isinstance(outcome, Unchanged)
        return Never("finalized, but its hold is consumed") if known else outcome

    return sell


# ----- payments


def _refunds_during_a_reversal(real: Callable[..., Decision[Intent]]) -> object:
    """As if no reversal were under review while a refund is made."""

    def complete_refund(intent: Intent, done: RefundDone) -> Decision[Intent]:
        apart = tuple(case for case in intent.cases if case.reason == "reversed")
        rest = tuple(case for case in intent.cases if case.reason != "reversed")
        outcome = real(replace(intent, cases=rest), done)
        if not isinstance(outcome, Changed):
            return outcome
        return replace(outcome, state=replace(outcome.state, cases=(*apart, *outcome.state.cases)))

    return complete_refund


def _waits_for_an_answer_to_any_money(real: Callable[[Intent, Charge], bool]) -> object:
    return lambda intent, charge: real(intent, replace(charge, kind=ChargeKind.APPLIED))


def _tells_every_return(real: Callable[..., Decision[Intent]]) -> object:
    def hear_return(intent: Intent, returned: PayerReturned) -> Decision[Intent]:
        outcome = real(intent, returned)
        attempt = attempt_of(intent, returned.attempt_id)
        if not isinstance(outcome, Changed) or outcome.tell or attempt is None:
            return outcome
        told = PaymentReturned(
            subject_id=intent.subject_id,
            intent_id=intent.subject_id,
            attempt_id=attempt.id,
            provider=attempt.provider,
        )
        return replace(outcome, tell=(told,))

    return hear_return


LEFT_OUT: Final[dict[str, LeftOut]] = {
    "hold-none": LeftOut(
        "Exp, Can and Ref set hold = none",
        _function(moves, "returned", _keeps_the_hold),
        Config("plain"),
        "orders believes in a hold that it has ended itself",
    ),
    "unhold": LeftOut(
        "a case closed at on_hold: hold held -> verifying, none -> expired",
        _cell(Stage.ON_HOLD, Signal.CASES_CLOSED, moves.to(Stage.VERIFYING)),
        lean("pending", pending=True),
        "stock: an order without a hold (oversold)",
    ),
    "held-row": LeftOut(
        "payment.held is no hint: open cases are kept on the row, by case_id",
        _function(stages, "hold_payment", _hears_cases_as_hints),
        lean("mismatch, returns", mismatch=True, returns=True, rank_cases=True),
        "failed is ignored: the hold lives on until the hard limit",
    ),
    "expired-refunded": LeftOut(
        "expired + refunded also tells order.cancelled",
        _cell(Stage.EXPIRED, Signal.REFUNDED, moves.to(Stage.REFUNDED)),
        lean("mismatch", mismatch=True, cancel=False),
        "the checkout is refunded, but the payment is EXPIRED",
    ),
    "cause": LeftOut(
        "refunded counts when nothing is outstanding, whatever the cause",
        _function(stages, "accept_refund", _counts_only_some_causes),
        lean("2 attempts", attempts=2),
        "stuck in refund_pending",
    ),
    "money-seq": LeftOut(
        "once ended, the newer of verified and refunded decides the stage",
        _without_money_seq,
        lean("plain"),
        "stuck in refund_pending",
    ),
    "cancelled-held": LeftOut(
        "cancelled + held changes nothing",
        _cell(Stage.CANCELLED, Signal.HELD, moves.to(Stage.REFUND_PENDING)),
        lean("pending", pending=True),
        "stuck in refund_pending",
    ),
    "lines": LeftOut(
        "lines go back once, at every end without an order",
        _function(moves, "returned", _returns_lines_always),
        lean("mismatch", mismatch=True),
        "the lines go back into the cart a second time",
    ),
    "consumed-ok": LeftOut(
        "finalized on a consumed hold is no alarm",
        _function(inventory, "sell", _alarms_when_sold_already),
        lean("1 item to the end", steps=True),
        "alarm: finalized, but its hold is consumed",
    ),
    "reversal: processing goes on": LeftOut(
        "a reversal never moves processing",
        _cell(Stage.PROCESSING, Signal.HELD, _reversal_stops_processing),
        lean("reversal", reversal=True),
        "on hold with a hold that is only asked for",
    ),
    "reversal: answer first": LeftOut(
        "a reversal is decided only after the answer, and when no item is open",
        _function(refunds, "_has_its_answer", lambda _: lambda *__: True),
        lean("reversal, items", reversal=True, steps=True),
        "shipped on money that is gone for good",
    ),
    "reversal: other money": LeftOut(
        "a reversal of money that is not applied waits for no answer",
        _function(refunds, "_has_its_answer", _waits_for_an_answer_to_any_money),
        lean("any reversal, mismatch", any_reversal=True, mismatch=True),
        "stuck in on_hold",
    ),
    "reversal: no refund meanwhile": LeftOut(
        "nothing of a charge is refunded while its reversal is under review",
        _function(refunds, "complete_refund", _refunds_during_a_reversal),
        lean("reversal", reversal=True),
        "refunded money that the gateway has taken back",
    ),
    "late-return": LeftOut(
        "payment.returned is told only while the window is open",
        _function(window, "hear_return", _tells_every_return),
        lean("returns", returns=True),
        "failed is ignored: the hold lives on until the hard limit",
    ),
}
