"""Topics overtake each other and copies come again: whatever the order, the same end."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from services.chassis.decisions import Changed, Never
from services.orders import domain
from services.orders.domain import Checkout, Hold, Stage
from tests.unit.orders import making
from tests.unit.orders.making import NOW

START = making.a_checkout(stage=Stage.RESERVING, total_paisa=None, held_at=None)
PRICED = making.reserved(START)
PAID = making.verified(START.order_id, 3)
STORY = (
    PRICED,
    making.opened(START.order_id, 1),
    making.came_back(START.order_id, 2),
    PAID,
)
HEARS: dict[str, Any] = {
    "stock.reserved": domain.accept_reservation,
    "payment.opened": domain.hear_hint,
    "payment.returned": domain.hear_hint,
    "payment.declined": domain.hear_hint,
    "payment.failed": domain.hear_hint,
    "payment.verified": domain.accept_payment,
    "payment.refunded": domain.accept_refund,
}


def replay(start: Checkout, arrival: tuple[Any, ...]) -> tuple[Checkout, list[str], list[Any]]:
    """The end state, what was told on the way, and what was brought about."""
    state = start
    told: list[str] = []
    do: list[Any] = []
    for event in arrival:
        outcome = HEARS[event.TOPIC](state, event, now=NOW)
        assert not isinstance(outcome, Never), outcome
        if isinstance(outcome, Changed):
            state = outcome.state
            told += [one.TOPIC for one in outcome.tell]
            do += outcome.do
    return state, told, do


@pytest.mark.parametrize("copy", range(len(STORY)))
def test_arrival_order_and_a_duplicate_do_not_matter(copy: int) -> None:
    for arrival in permutations((*STORY, STORY[copy])):
        state, told, do = replay(START, arrival)
        assert (state.stage, told) == (Stage.CONFIRMED, ["order.finalized"])
        assert sum(isinstance(one, domain.CreateOrder) for one in do) == 1


def test_verified_before_failed_and_failed_before_verified_both_end_well() -> None:
    failed = making.failed(START.order_id, 2)
    state, told, _ = replay(START, (PRICED, PAID, failed))
    assert (state.stage, told) == (Stage.CONFIRMED, ["order.finalized"])

    state, told, _ = replay(START, (PRICED, failed, PAID))
    assert (state.stage, told) == (Stage.PROCESSING, ["order.expired", "order.revived"])
    again = making.reserved(replace(START, hold_no=2))
    state, told, do = replay(START, (PRICED, failed, PAID, again))
    assert (state.stage, told[-1]) == (Stage.CONFIRMED, "order.finalized")
    [created] = [one for one in do if isinstance(one, domain.CreateOrder)]
    assert created.order.total_paisa == PRICED.total_paisa


def test_a_refund_and_the_payment_it_undoes_end_refunded_in_either_order() -> None:
    ended = replace(
        START, stage=Stage.CANCELLED, hold=Hold.NONE, lines_returned=True, total_paisa=450_00, ended_at=NOW
    )
    back = making.refunded(START.order_id, 4)
    for arrival in ((PAID, back), (back, PAID)):
        state, told, _ = replay(ended, arrival)
        assert (state.stage, told) == (Stage.REFUNDED, [])


def test_a_revived_order_keeps_its_price() -> None:
    dearer = making.reserved(
        replace(START, hold_no=2, lines=tuple(line._replace(price_paisa=999_00) for line in START.lines))
    )
    ended = replace(
        making.a_checkout(order_id=START.order_id), stage=Stage.EXPIRED, hold=Hold.NONE, ended_at=NOW
    )
    state, _, _ = replay(ended, (PAID, dearer))
    assert (state.stage, state.total_paisa) == (Stage.CONFIRMED, 450_00)
