"""Plain forms: a state without what no decision reads, so that states are few; sequences become ranks."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from contracts.event import Event
from contracts.orders import OrderCancelled
from services.inventory.domain import Order as Stock
from services.orders.domain import Checkout, Order, Stage
from services.payments.domain import Attempt, Intent, IntentStatus
from tests.support.saga.world import (
    AFTER_CLOSE,
    CASES,
    HINTS,
    MONEY,
    NOW,
    OF_PAYMENTS,
    Config,
    Message,
    World,
)

NEWER_THAN_ANY: Final = 100
"""The counter of payments once it has told something: ranks stay far below."""


def plain_checkout(checkout: Checkout) -> Checkout:
    """Times only matter where they decide: how long ago an unpaid checkout ended."""
    unpaid = checkout.stage in {Stage.EXPIRED, Stage.PAYMENT_FAILED}
    return replace(
        checkout,
        seq=0,
        version=1,
        since=None,
        refusals=(),
        paid_at=checkout.paid_at and NOW,
        ended_at=NOW if unpaid and checkout.ended_at else None,
    )


def plain_order(order: Order) -> Order:
    """Without the counters of its history."""
    items = tuple(replace(item, version=1) for item in order.items)
    return replace(order, seq=0, version=1, steps=1, items=items)


def plain_stock(stock: Stock) -> Stock:
    """Nobody compares the sequences of inventory."""
    return replace(stock, seq=0)


def plain_intent(intent: Intent) -> Intent:
    """Without schedules and prose; its next sequence is newer than all there are."""
    awaited = intent.status is IntentStatus.AWAITING_PAYMENT
    return replace(
        intent,
        seq=NEWER_THAN_ANY if intent.seq else 0,
        verified_at=None,
        attempts=tuple(_plain_attempt(attempt, awaited=awaited) for attempt in intent.attempts),
        cases=tuple(replace(case, resolution=None) for case in intent.cases),
    )


def _plain_attempt(attempt: Attempt, *, awaited: bool) -> Attempt:
    """An answer counts as a last one while the window is open, and only when it came after the end."""
    last = awaited and attempt.answered_at is not None and attempt.answered_at >= AFTER_CLOSE
    return replace(attempt, next_check_at=None, unknowns=0, answered_at=AFTER_CLOSE if last else None)


def plain_event(event: Event) -> Event:
    """Why a checkout was cancelled is for people."""
    return event.model_copy(update={"reason": "any"}) if isinstance(event, OrderCancelled) else event


Say = Callable[[Event, int], Message]
Keep = Callable[[Checkout], Checkout]


def ranked(world: World, config: Config, say: Say, keep: Keep) -> World:
    """Only the order of sequences matters: hints against `pay_seq`, money against `money_seq`.

    1 stays 1 and is nobody else's, because the very first hint is known by it.
    """
    checkout, channels = world.checkout, world.channels
    hint_channels = HINTS + CASES if config.rank_cases else HINTS
    hints = _ranks(_sequences(world, hint_channels), first=2) | {1: 1}
    money = _ranks(_sequences(world, MONEY), first=1)
    pay_seq, money_seq = (
        _at_most(checkout.pay_seq, hints, world, hint_channels),
        _at_most(checkout.money_seq, money, world, MONEY),
    )
    moved = list(channels)
    for place in OF_PAYMENTS:
        rank = hints if place in hint_channels else money if place in MONEY else {}
        moved[place] = tuple(
            one if one.sequence == rank.get(one.sequence, 0) else say(one.plain, rank.get(one.sequence, 0))
            for one in channels[place]
        )
    if (pay_seq, money_seq) != (checkout.pay_seq, checkout.money_seq):
        checkout = keep(replace(checkout, pay_seq=pay_seq, money_seq=money_seq))
    return world._replace(checkout=checkout, channels=tuple(moved))


def _sequences(world: World, places: Iterable[int]) -> list[int]:
    return sorted({one.sequence for place in places for one in world.channels[place]})


def _ranks(sequences: list[int], *, first: int) -> dict[int, int]:
    later = [one for one in sequences if one >= first]
    return {one: rank for rank, one in enumerate(later, first)}


def _at_most(seen: int, ranks: dict[int, int], world: World, places: Iterable[int]) -> int:
    """The rank of the newest one on its way that is no newer than what was seen."""
    return max((ranks[one] for one in _sequences(world, places) if one <= seen), default=0)
