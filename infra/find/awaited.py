"""What an order waits for, and what fires when nothing comes: the timers of the stages, by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from infra.find.facts import Facts
from services.orders.domain import REVIVABLE_FOR
from services.orders.reconcilers import Limits

ALARM_AFTER: Final = timedelta(seconds=60)
"""A verified payment without an answer: after this time somebody is called, and then a case is opened."""
CASE_AFTER: Final = timedelta(minutes=15)
OPEN_ITEM: Final = ("pending", "processing", "shipped")


@dataclass(frozen=True, slots=True)
class Awaited:
    """One thing that may come, and what happens if it does not; `until` is None when no timer runs."""

    what: str
    until: datetime | None
    then: str

    def line(self, now: datetime) -> str:
        if self.until is None:
            return f"{self.what}; {self.then}"
        left = (self.until - now).total_seconds()
        when = f"in {_span(left)}" if left >= 0 else f"{_span(-left)} ago"
        return f"{self.what} until {self.until:%H:%M:%S} ({when}); {self.then}"


def _span(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
    )


def awaited(facts: Facts, limits: Limits) -> list[Awaited]:
    """Everything that is awaited, the stage of the checkout first."""
    checkout = facts.one("checkout")
    found = list(STAGES.get(checkout["stage"], _nothing)(checkout, facts, limits)) if checkout else []
    return [*found, *_of_payments(facts), *_of_parked(facts)]


Says = Callable[[Any, Facts, Limits], Iterator[Awaited]]


def _nothing(_: Any, __: Facts, ___: Limits) -> Iterator[Awaited]:  # noqa: ANN401 - a database row
    return iter(())


def _reserving(checkout: Any, _: Facts, limits: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    what = "inventory's answer (stock.reserved or stock.rejected)"
    if checkout["paid_at"] is not None:
        yield Awaited(what, None, "it is paid, so no timer gives it up")
    elif not checkout["asked"]:
        yield Awaited(
            what,
            None,
            f"{limits.reserve_s:g} s count from when order.placed is known to have left the outbox",
        )
    else:
        yield _after(checkout, what, limits.reserve_s, "then cancel_unreserved cancels the checkout")


def _awaiting_phone(checkout: Any, _: Facts, limits: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    yield _after(
        checkout, "a confirmed phone number", limits.phone_s, "then expire_unconfirmed_phones ends it"
    )


def _to_be_paid(checkout: Any, facts: Facts, limits: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    intent = facts.one("intent")
    if intent is None and "payments" not in facts.silent:
        yield Awaited("payments to open the intent", None, "it does when it hears stock.reserved")
    yield _after(
        checkout,
        "the last word of payments",
        checkout["pay_within_s"] + limits.payment_grace_s,
        "then expire_unpaid ends it, once orders has read all that payments told",
    )


def _on_hold(checkout: Any, _: Facts, limits: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    yield Awaited("somebody to decide the review case", None, "no timer decides about money")
    if checkout["hold"] != "none":
        yield _after(checkout, "the case with its stock held", limits.review_s, "then the stock is released")


def _processing(checkout: Any, _: Facts, limits: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    what = f"inventory's answer about hold {checkout['hold_no']} for money that came late"
    yield _after(checkout, what, limits.process_s, "then refund_unprocessed sends the money back")


def _revivable(checkout: Any, _: Facts, __: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    if checkout["ended_at"] is not None:
        yield Awaited(
            "money that still comes", checkout["ended_at"] + REVIVABLE_FOR, "later money goes back instead"
        )


def _confirmed(_: Any, facts: Facts, __: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    open_ = [item["sku"] for item in facts.all("items") if item["status"] in OPEN_ITEM]
    if open_:
        yield Awaited(f"vendors to move {', '.join(open_)}", None, "no timer moves goods")


def _refund_pending(_: Any, facts: Facts, __: Limits) -> Iterator[Awaited]:  # noqa: ANN401
    if not facts.all("refunds") and "payments" not in facts.silent:
        yield Awaited("payments to note the refund", None, "it does when it hears order.cancelled")


STAGES: Final[dict[str, Says]] = {
    "reserving": _reserving,
    "awaiting_phone": _awaiting_phone,
    "awaiting_payment": _to_be_paid,
    "verifying": _to_be_paid,
    "on_hold": _on_hold,
    "processing": _processing,
    "expired": _revivable,
    "payment_failed": _revivable,
    "confirmed": _confirmed,
    "refund_pending": _refund_pending,
}


def _of_payments(facts: Facts) -> Iterator[Awaited]:
    intent = facts.one("intent")
    if intent is not None and intent["status"] == "AWAITING_PAYMENT":
        yield Awaited("the customer's money", intent["pay_by"], "then the last lookups are made")
        yield Awaited(
            "the last lookups",
            intent["close_at"],
            "then close_windows tells payment.failed if none found money",
        )
    if intent is not None and intent["status"] == "SUCCEEDED" and intent["answer"] is None:
        yield from _unanswered(intent)
    for attempt in facts.all("attempts"):
        if attempt["next_check_at"] is not None:
            what = f"the next question about attempt {attempt['id']} ({attempt['status']})"
            yield Awaited(what, attempt["next_check_at"], "then the poller asks the gateway again")
    for refund in facts.all("refunds"):
        if refund["status"] == "MANUAL_PENDING":
            yield Awaited(f"somebody to send refund {refund['id']} by hand", None, "no timer sends money")
    for case in facts.all("cases"):
        if case["open"]:
            yield Awaited(
                f"review case {case['id']} ({case['reason']}) to be closed", None, "a person decides"
            )


def _unanswered(intent: Any) -> Iterator[Awaited]:  # noqa: ANN401
    what = "orders' answer to payment.verified (order.finalized or order.cancelled)"
    yield Awaited(what, intent["verified_at"] + ALARM_AFTER, "then alarm_unanswered calls somebody")
    if intent["left_at"] is not None:
        yield Awaited(what, intent["left_at"] + CASE_AFTER, "then open_unanswered_cases opens a review case")


def _of_parked(facts: Facts) -> Iterator[Awaited]:
    for service, said in facts.by_service.items():
        for block in said.get("blocks", ()):
            what = f"the next try of what {service} has parked (tried {block['attempts']} times)"
            yield Awaited(what, block["next_at"], "then the key's records are tried again in order")


def _after(checkout: Any, what: str, seconds: float, then: str) -> Awaited:  # noqa: ANN401
    return Awaited(what, checkout["since"] + timedelta(seconds=seconds), then)
