"""Items and the status that follows from them: every step by everybody, every combination, every share."""

from itertools import combinations_with_replacement, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.decisions import Changed, Never, Refused, Unchanged
from services.chassis.ids import new_id
from services.orders.domain import (
    NEXT,
    Actor,
    ActorType,
    ItemMove,
    ItemStatus,
    MoveItem,
    Order,
    OrderFinal,
    OrderStatus,
    OrderStep,
    RollUp,
    allowed_actions,
    move_item,
    roll_up,
    rollup,
    shares,
)
from tests.unit.orders.making import CUSTOMER, NOW, RAJU, SONA, an_item, an_order

P, W, S, D, C = ItemStatus  # pending, processing, shipped, delivered, cancelled
ADMIN = new_id()
ACTORS: dict[ActorType, Actor] = {
    "vendor": Actor("vendor", new_id(), SONA),
    "admin": Actor("admin", ADMIN),
    "customer": Actor("customer", CUSTOMER),
    "system": Actor(),
}
ALLOWED: dict[tuple[ItemStatus, ItemStatus], set[str]] = {
    (P, W): {"vendor", "admin"},
    (W, S): {"vendor", "admin"},
    (S, D): {"vendor", "admin"},
    (P, C): {"vendor", "admin", "customer"},
    (W, C): {"vendor", "admin"},
    (S, C): {"admin"},
}
"""As the design has it, for a reason that is not `refused_at_door`."""


def moving(order: Order, new: ItemStatus, actor: Actor, **said: Any) -> MoveItem:  # noqa: ANN401
    return MoveItem(order.order_id, order.items[0].id, new, actor, **{"reason": "because", **said})


def an_order_at(status: ItemStatus, **said: Any) -> Order:  # noqa: ANN401
    delivered_at = NOW if status is D else None
    return an_order(an_item(status=status, delivered_at=delivered_at), **said)


@pytest.mark.parametrize(("old", "new", "actor"), list(product(ItemStatus, ItemStatus, ACTORS)))
def test_every_step_by_everybody(old: ItemStatus, new: ItemStatus, actor: ActorType) -> None:
    order = an_order_at(old)
    outcome = move_item(order, moving(order, new, ACTORS[actor]), now=NOW)
    if actor in ALLOWED.get((old, new), set()):
        assert isinstance(outcome, Changed)
        assert outcome.state.items[0].status is new
    else:
        assert isinstance(outcome, Refused)
        assert outcome.code in {"INVALID_TRANSITION", "FORBIDDEN"}


def test_delivered_and_cancelled_are_final() -> None:
    assert NEXT[D] == NEXT[C] == {}


def test_a_vendor_cancels_a_shipped_item_only_when_it_was_refused_at_the_door() -> None:
    order = an_order_at(S)
    outcome = move_item(order, moving(order, C, ACTORS["vendor"], reason="refused_at_door"), now=NOW)
    assert isinstance(outcome, Changed)


def test_a_refusal_names_both_states() -> None:
    order = an_order_at(P)
    outcome = move_item(order, moving(order, D, ACTORS["vendor"]), now=NOW)
    assert isinstance(outcome, Refused)
    assert "pending" in outcome.detail
    assert "delivered" in outcome.detail


@pytest.mark.parametrize(
    "actor", [Actor("vendor", new_id(), RAJU), Actor("vendor", new_id()), Actor("customer", new_id())]
)
def test_what_is_not_yours_is_not_there(actor: Actor) -> None:
    order = an_order_at(P)
    outcome = move_item(order, moving(order, C, actor), now=NOW)
    assert isinstance(outcome, Refused)
    assert outcome.code == "NOT_FOUND"


def test_an_unknown_item_or_order_is_not_there() -> None:
    order = an_order_at(P)
    command = MoveItem(order.order_id, new_id(), W, ACTORS["admin"])
    for known in (order, None):
        outcome = move_item(known, command, now=NOW)
        assert isinstance(outcome, Refused)
        assert outcome.code == "NOT_FOUND"


def test_a_stale_version_moves_nothing() -> None:
    order = an_order_at(P)
    outcome = move_item(order, moving(order, W, ACTORS["vendor"], version=9), now=NOW)
    assert isinstance(outcome, Refused)
    assert outcome.code == "STALE"


def test_nothing_ships_while_a_reversal_is_looked_at_but_the_rest_goes_on() -> None:
    order = an_order_at(W, blocked=True)
    refused = move_item(order, moving(order, S, ACTORS["admin"]), now=NOW)
    assert isinstance(refused, Refused)
    assert refused.code == "ORDER_ON_HOLD"
    assert S not in allowed_actions(order.items[0], ACTORS["vendor"], blocked=True)
    assert isinstance(move_item(order, moving(order, C, ACTORS["vendor"]), now=NOW), Changed)


@pytest.mark.parametrize(("status", "actor"), list(product(ItemStatus, ACTORS)))
def test_allowed_actions_are_what_the_table_lets_this_actor_do(status: ItemStatus, actor: ActorType) -> None:
    offered = allowed_actions(an_item(status=status), ACTORS[actor], blocked=False)
    may = {new for (old, new), actors in ALLOWED.items() if old is status and actor in actors}
    extra = {C} if (status, actor) == (S, "vendor") else set()  # with the one reason that allows it
    assert set(offered) == may | extra


def test_cash_is_recorded_exactly_when_an_item_paid_on_delivery_is_delivered() -> None:
    cod, esewa = an_order_at(S, method="cod"), an_order_at(S)
    without = move_item(cod, moving(cod, D, ACTORS["vendor"]), now=NOW)
    assert isinstance(without, Refused)
    paid = move_item(cod, moving(cod, D, ACTORS["vendor"], collected_paisa=350_00, collector="Ram"), now=NOW)
    assert isinstance(paid, Changed)
    assert paid.tell[0].collected_paisa == 350_00  # type: ignore[attr-defined]
    needless = move_item(esewa, moving(esewa, D, ACTORS["vendor"], collected_paisa=1), now=NOW)
    assert isinstance(needless, Refused)


def test_a_cancelled_item_is_restocked_and_its_net_and_delivery_share_go_back() -> None:
    order = an_order_at(P)
    outcome = move_item(order, moving(order, C, ACTORS["customer"]), now=NOW)
    assert isinstance(outcome, Changed)
    [told] = outcome.tell
    assert (told.restock, told.refund_paisa, told.cancelled_by) == (True, 350_00, "customer")  # type: ignore[attr-defined]


def test_a_step_raises_both_versions_and_is_one_row_of_history() -> None:
    order = an_order_at(P, version=7)
    outcome = move_item(order, moving(order, W, ACTORS["vendor"]), now=NOW)
    assert isinstance(outcome, Changed)
    assert (outcome.state.version, outcome.state.items[0].version) == (8, 2)
    [move] = outcome.do
    assert isinstance(move, ItemMove)
    assert (move.old, move.new, move.seq, move.reason) == (P, W, 2, "because")
    assert outcome.tell == ()


# ----- the roll-up


def expected(statuses: tuple[ItemStatus, ...]) -> str:
    """The rule once more, in other words."""
    if any(one in {P, W, S} for one in statuses):
        return "confirmed"
    return "delivered" if any(one is D for one in statuses) else "cancelled"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_status_is_this_function_of_the_items(count: int) -> None:
    for statuses in combinations_with_replacement(ItemStatus, count):
        assert rollup(statuses).value == expected(statuses)


@pytest.mark.parametrize("statuses", list(product([P, D, C], repeat=3)))
def test_rolling_up_tells_once_and_only_when_nothing_is_open(statuses: tuple[ItemStatus, ...]) -> None:
    items = [an_item(status=one, delivered_at=NOW if one is D else None) for one in statuses]
    order = an_order(*items)
    outcome = roll_up(order, RollUp(order.order_id))
    if P in statuses:
        assert isinstance(outcome, Unchanged)
        return
    assert isinstance(outcome, Changed)
    topic = "order.delivered" if D in statuses else "order.cancelled"
    assert [event.TOPIC for event in outcome.tell] == [topic]
    assert outcome.state.delivered_at == (NOW if D in statuses else None)
    assert [type(one) for one in outcome.do] == [OrderStep, OrderFinal]
    assert isinstance(roll_up(outcome.state, RollUp(order.order_id)), Unchanged)


def test_delivered_at_is_the_latest_of_the_items() -> None:
    early, late = NOW, NOW.replace(hour=23)
    items = [an_item(status=D, delivered_at=one) for one in (late, early)] + [an_item(status=C)]
    outcome = roll_up(an_order(*items), RollUp(new_id()))
    assert isinstance(outcome, Changed)
    assert outcome.state.delivered_at == late


def test_an_order_wrongly_final_is_opened_again_without_telling() -> None:
    order = an_order(an_item(), status=OrderStatus.DELIVERED, delivered_at=NOW)
    outcome = roll_up(order, RollUp(order.order_id))
    assert isinstance(outcome, Changed)
    assert (outcome.state.status, outcome.state.delivered_at) == (OrderStatus.CONFIRMED, None)
    assert outcome.tell == ()


def test_an_item_event_of_no_order_is_an_alarm() -> None:
    assert isinstance(roll_up(None, RollUp(new_id())), Never)


# ----- shares


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_shares_sum_exactly_and_are_within_a_paisa_of_proportion(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert sum(parts) == total
    assert all(part >= 0 for part in parts)
    whole = sum(weights)
    if whole:
        assert all(
            abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True)
        )


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (1, [5, 5], [1, 0]),
        (10, [0, 0, 0], [4, 3, 3]),
        (50_00, [300_00], [50_00]),
        (0, [1, 2], [0, 0]),
        (7, [], []),
    ],
)
def test_the_remainder_goes_to_the_largest_and_then_to_the_earlier(
    total: int, weights: list[int], parts: list[int]
) -> None:
    assert shares(total, weights) == parts
