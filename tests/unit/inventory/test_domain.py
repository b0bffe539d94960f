"""Every decision about the holds of one order, and of many orders about one shelf."""

from collections.abc import Sequence
from itertools import permutations, product
from uuid import UUID, uuid4

import pytest

from contracts.event import Event
from contracts.inventory import StockRejected, StockReleased, StockReserved
from contracts.orders import WantedLine
from services.chassis.decisions import Changed, Decision, Never, Refused, Unchanged, decide_each
from services.inventory import domain
from services.inventory.domain import Adjustment, Hold, HoldStatus, Level, Order, StockMove
from tests.unit.inventory.examples import (
    OTHER_VENDOR,
    VENDOR,
    a_shelf,
    an_offer,
    cancelled,
    expired,
    finalized,
    item_cancelled,
    placed,
    revived,
    shipped,
)
from tests.unit.inventory.world import World

ORDER = UUID(int=7)
ITEM = UUID(int=8)
TOMBSTONE = Hold(1, HoldStatus.ENDED)


def changed(decision: Decision[Order]) -> Changed[Order]:
    assert isinstance(decision, Changed), decision
    return decision


def held(**quantities: int) -> Order:
    """An order whose first hold lives, from a shelf with room."""
    shelf = a_shelf(**dict.fromkeys(quantities or {"a": 1}, 100))
    return changed(domain.reserve(None, placed(ORDER, **quantities), shelf)).state


def consumed(**quantities: int) -> Order:
    return changed(domain.sell(held(**quantities), finalized(ORDER))).state


def statuses(order: Order) -> list[tuple[int, str]]:
    return [(hold.hold_no, hold.status.value) for hold in order.holds]


# ---------------------------------------------------------------------------- holding


def test_all_lines_are_held_and_the_price_is_summed_once() -> None:
    shelf = a_shelf(
        an_offer("a")._replace(price_paisa=1000, delivery_paisa=150),
        an_offer("b")._replace(price_paisa=500, delivery_paisa=150),
        an_offer("c")._replace(price_paisa=70, vendor_id=OTHER_VENDOR, delivery_paisa=0),
    )
    decision = changed(domain.reserve(None, placed(ORDER, a=2, b=1, c=3), shelf))

    (reserved,) = decision.tell
    assert isinstance(reserved, StockReserved)
    assert reserved.total_paisa == 2 * 1000 + 500 + 3 * 70 + 150
    assert {one.vendor_id: one.delivery_paisa for one in reserved.deliveries} == {
        VENDOR: 150,
        OTHER_VENDOR: 0,
    }
    assert [(line.sku, line.quantity, line.price_paisa) for line in reserved.lines] == [
        ("a", 2, 1000),
        ("b", 1, 500),
        ("c", 3, 70),
    ]
    assert (reserved.method, reserved.pay_within_s, reserved.hold_no) == ("esewa", 900, 1)
    assert [(move.sku, move.on_hand, move.reserved) for move in decision.do] == [
        ("a", 0, 2),
        ("b", 0, 1),
        ("c", 0, 3),
    ]


def test_lines_of_the_same_sku_are_summed_before_they_are_compared_with_the_shelf() -> None:
    twice = (WantedLine(sku="a", quantity=2), WantedLine(sku="a", quantity=2))

    (rejected,) = changed(domain.reserve(None, placed(ORDER, *twice), a_shelf(a=3))).tell
    assert isinstance(rejected, StockRejected)

    (reserved,) = changed(domain.reserve(None, placed(ORDER, *twice), a_shelf(a=4))).tell
    assert isinstance(reserved, StockReserved)
    assert [(line.sku, line.quantity) for line in reserved.lines] == [("a", 4)]


def test_one_refused_line_refuses_all_and_each_has_its_reason() -> None:
    shelf = a_shelf(
        an_offer("c")._replace(withdrawn=True), an_offer("d")._replace(delivery_paisa=None), a=1, b=1
    )
    decision = changed(domain.reserve(None, placed(ORDER, a=2, b=1, c=1, d=1, e=1), shelf))

    (rejected,) = decision.tell
    assert isinstance(rejected, StockRejected)
    assert {line.sku: line.code for line in rejected.lines} == {
        "a": "OUT_OF_STOCK",
        "c": "PRODUCT_UNAVAILABLE",
        "d": "VENDOR_NOT_FOUND",
        "e": "PRODUCT_UNAVAILABLE",
    }
    assert decision.do == ()
    assert decision.state.holds == (Hold(1, HoldStatus.REFUSED),)


def test_an_order_of_nothing_is_an_alarm() -> None:
    nothing = placed(ORDER).model_copy(update={"lines": ()})
    assert isinstance(domain.reserve(None, nothing, a_shelf(a=1)), Never)


def test_more_units_than_an_event_can_carry_are_out_of_stock() -> None:
    lines = (WantedLine(sku="a", quantity=10**6), WantedLine(sku="a", quantity=1))
    (rejected,) = changed(domain.reserve(None, placed(ORDER, *lines), a_shelf(a=10**9))).tell
    assert isinstance(rejected, StockRejected)


@pytest.mark.parametrize("order", [held(), consumed(), Order(ORDER, holds=(TOMBSTONE,))])
def test_a_hold_that_is_known_is_not_made_again(order: Order) -> None:
    assert domain.reserve(order, placed(ORDER), a_shelf(a=100)) == Unchanged()


def test_nothing_is_held_for_an_order_that_was_cancelled_first() -> None:
    closed = changed(domain.end(None, cancelled(ORDER))).state
    assert domain.reserve(closed, placed(ORDER), a_shelf(a=100)) == Unchanged()
    assert domain.reserve(closed, revived(ORDER), a_shelf(a=100)) == Unchanged()


def test_contested_stock_goes_to_whoever_came_first() -> None:
    orders = [uuid4() for _ in range(4)]
    wanted = [
        placed(orders[0], a=2),
        placed(orders[1], a=2, b=1),
        placed(orders[2], a=1),
        placed(orders[3], b=1),
    ]

    verdicts = decide_each(wanted, {}, domain.in_turn(a_shelf(a=3, b=1), domain.reserve))

    # The second asks for too much of a, so it takes nothing: b is still there for the fourth.
    assert [one.event.TOPIC for one in verdicts.told] == [
        "stock.reserved",
        "stock.rejected",
        "stock.reserved",
        "stock.reserved",
    ]


# ---------------------------------------------------------------------------- reviving


def test_a_revival_holds_again_at_the_price_of_the_first_hold() -> None:
    first = held(a=2)
    ended = changed(domain.end(first, expired(ORDER))).state
    dearer = a_shelf(an_offer("a")._replace(price_paisa=9999, delivery_paisa=9999))

    (reserved,) = changed(domain.reserve(ended, revived(ORDER, a=2), dearer)).tell

    assert isinstance(reserved, StockReserved)
    assert (reserved.hold_no, reserved.total_paisa) == (2, 2 * 1000 + 150)


def test_a_revival_that_comes_before_the_end_ends_the_hold_before_it_and_takes_its_units() -> None:
    decision = changed(domain.reserve(held(a=2), revived(ORDER, a=2), a_shelf(a=0)))

    assert [type(event) for event in decision.tell] == [StockReleased, StockReserved]
    assert statuses(decision.state) == [(1, "ended"), (2, "held")]
    assert sum(move.reserved for move in decision.do) == 0


def test_an_order_has_one_live_hold_even_if_a_revival_were_skipped_or_came_late() -> None:
    third = changed(domain.reserve(held(), revived(ORDER, 3), a_shelf(a=100))).state
    assert statuses(third) == [(1, "ended"), (3, "held")]
    assert domain.reserve(third, revived(ORDER, 2), a_shelf(a=100)) == Unchanged()


def test_the_late_end_of_a_hold_that_a_revival_ended_changes_nothing() -> None:
    again = changed(domain.reserve(held(), revived(ORDER), a_shelf(a=100))).state
    assert domain.end(again, expired(ORDER, 1)) == Unchanged()


def test_a_revival_without_stock_is_rejected_and_its_old_hold_stays_ended() -> None:
    ended = changed(domain.end(held(), expired(ORDER))).state
    decision = changed(domain.reserve(ended, revived(ORDER), a_shelf(a=0)))
    assert statuses(decision.state) == [(1, "ended"), (2, "refused")]


def test_a_revival_of_what_was_never_held_is_an_alarm() -> None:
    assert isinstance(domain.reserve(None, revived(ORDER), a_shelf(a=100)), Never)


# ---------------------------------------------------------------------------- ending


def test_an_expired_hold_is_on_sale_again() -> None:
    decision = changed(domain.end(held(a=2), expired(ORDER)))
    assert decision.tell == (
        StockReleased(order_id=ORDER, hold_no=1, lines=(WantedLine(sku="a", quantity=2),)),
    )
    assert decision.do == (StockMove("a", 0, -2, ORDER, 1),)


def test_an_end_that_comes_first_leaves_a_tombstone_for_its_number_only() -> None:
    order = changed(domain.end(None, expired(ORDER, 1))).state
    assert order.holds == (TOMBSTONE,)
    assert domain.reserve(order, placed(ORDER), a_shelf(a=1)) == Unchanged()


@pytest.mark.parametrize("order", [consumed(), Order(ORDER, holds=(TOMBSTONE,))])
def test_a_hold_that_ended_does_not_end_again(order: Order) -> None:
    assert domain.end(order, expired(ORDER)) == Unchanged()


def test_a_cancelled_checkout_gives_its_units_back_once() -> None:
    decision = changed(domain.end(held(), cancelled(ORDER)))
    assert [type(event) for event in decision.tell] == [StockReleased]
    assert domain.end(decision.state, cancelled(ORDER)) == Unchanged()


# ---------------------------------------------------------------------------- selling

PROOFS = [
    finalized(ORDER),
    shipped(ORDER),
    item_cancelled(ORDER, restock=False),
    cancelled(ORDER, finalized=True),
]


def decide(order: Order | None, event: Event) -> Decision[Order]:
    return World.decide(order, event, a_shelf(a=100))


@pytest.mark.parametrize("proof", PROOFS, ids=lambda event: event.TOPIC)
def test_any_fact_about_a_finalized_order_turns_the_hold_into_a_sale(proof: Event) -> None:
    decision = changed(decide(held(a=2), proof))
    assert decision.state.holds[0].status is HoldStatus.CONSUMED
    assert decision.do == (StockMove("a", -2, -2, ORDER, 1),)
    assert decision.tell == ()


@pytest.mark.parametrize(("first", "second"), list(product(PROOFS, PROOFS)))
def test_a_hold_is_sold_once_whichever_fact_comes_first(first: Event, second: Event) -> None:
    sold = changed(decide(held(), first)).state
    assert decide(sold, second) == Unchanged()


@pytest.mark.parametrize("proof", PROOFS, ids=lambda event: event.TOPIC)
@pytest.mark.parametrize(
    "order",
    [
        None,
        Order(ORDER, holds=(TOMBSTONE,)),
        Order(ORDER, holds=(Hold(1, HoldStatus.REFUSED),)),
        Order(ORDER, closes_all=True),
    ],
)
def test_a_finalized_order_without_a_hold_is_an_alarm(order: Order | None, proof: Event) -> None:
    assert isinstance(decide(order, proof), Never)


def test_finalizing_another_hold_than_the_one_held_is_an_alarm() -> None:
    assert isinstance(domain.sell(held(), finalized(ORDER, hold_no=2)), Never)


# ---------------------------------------------------------------------------- giving back what was sold


def test_the_units_of_a_cancelled_item_come_back_once() -> None:
    decision = changed(domain.return_item(consumed(a=2), item_cancelled(ORDER, ITEM, quantity=2)))
    assert decision.do == (StockMove("a", 2, 0, ORDER, item_id=ITEM),)
    assert domain.return_item(decision.state, item_cancelled(ORDER, ITEM, quantity=2)) == Unchanged()


def test_a_cancelled_item_that_is_not_restocked_changes_no_stock() -> None:
    assert domain.return_item(consumed(), item_cancelled(ORDER, restock=False)) == Unchanged()


def test_a_cancelled_item_that_comes_first_makes_the_sale_and_then_the_return() -> None:
    decision = changed(domain.return_item(held(a=2), item_cancelled(ORDER, ITEM, quantity=2)))
    assert decision.do == (StockMove("a", -2, -2, ORDER, 1), StockMove("a", 2, 0, ORDER, item_id=ITEM))


def test_the_return_of_what_was_never_sold_is_an_alarm() -> None:
    assert isinstance(domain.return_item(consumed(a=1), item_cancelled(ORDER, sku="b")), Never)


# ---------------------------------------------------------------------------- small worlds

CHECKOUT_ENDS: list[Sequence[Event]] = [
    (placed(ORDER), expired(ORDER)),
    (placed(ORDER), cancelled(ORDER)),
    (placed(ORDER), expired(ORDER), cancelled(ORDER)),
]


@pytest.mark.parametrize(
    "arrival",
    [arrival for story in CHECKOUT_ENDS for arrival in permutations([*story, *story])],
    ids=lambda arrival: " ".join(event.TOPIC for event in arrival),
)
def test_a_checkout_that_ended_holds_nothing_whatever_came_first_or_twice(arrival: Sequence[Event]) -> None:
    world = World(opening={"a": 1})
    for event in arrival:
        world.hear(event)
    assert world.reserved["a"] == 0
    world.check()


ORDER_CLOSES: Sequence[Event] = (
    finalized(ORDER),
    shipped(ORDER),
    item_cancelled(ORDER, ITEM, quantity=2),
    cancelled(ORDER, finalized=True),
)


@pytest.mark.parametrize(
    "arrival",
    list(permutations([*ORDER_CLOSES, ORDER_CLOSES[2]])),
    ids=lambda arrival: " ".join(event.TOPIC for event in arrival),
)
def test_a_sale_and_its_return_do_not_depend_on_the_order_of_arrival(arrival: Sequence[Event]) -> None:
    world = World(opening={"a": 5})
    world.hear(placed(ORDER, a=2))
    for event in arrival:
        world.hear(event)
    assert (world.on_hand["a"], world.reserved["a"]) == (5, 0)
    assert sorted(move.on_hand for move in world.ledger) == [-2, 2]
    world.check()


@pytest.mark.parametrize("status", [None, *HoldStatus])
def test_nothing_leaves_an_end_state(status: HoldStatus | None) -> None:
    leaves = bool(domain.NEXT[status])
    assert leaves == (status in {None, HoldStatus.HELD})


def test_a_count_never_goes_below_what_is_promised() -> None:
    level = Level("a", VENDOR, on_hand=5, reserved=3, version=4, is_new=False)

    def count(delta: int, vendor_id: UUID | None = None) -> Level | Refused:
        return domain.adjust(level, Adjustment(ITEM, "a", delta, "counted", ORDER, vendor_id))

    assert count(-2) == Level("a", VENDOR, on_hand=3, reserved=3, version=5, is_new=False)
    assert isinstance(refused := count(-3), Refused)
    assert refused.code == "STOCK_WOULD_GO_NEGATIVE"
    assert isinstance(count(1, VENDOR), Level)
    assert isinstance(stranger := count(1, OTHER_VENDOR), Refused)
    assert stranger.code == "NOT_FOUND"


@pytest.mark.parametrize(
    ("is_new", "delta", "counted", "kind"),
    [
        (True, 1, False, "opening"),
        (True, 1, True, "opening"),
        (False, 1, False, "received"),
        (False, 1, True, "adjusted"),
        (False, -1, False, "adjusted"),
        (True, -1, True, "adjusted"),
    ],
)
def test_the_ledger_names_what_came_and_went(is_new: bool, delta: int, counted: bool, kind: str) -> None:  # noqa: FBT001
    level = Level("a", VENDOR, on_hand=5, reserved=0, version=1, is_new=is_new)
    adjustment = Adjustment(ITEM, "a", delta, "why", ORDER)
    assert domain.kind_of(level, adjustment, counted=counted) == kind


def test_what_is_left_on_the_shelf_follows_the_moves() -> None:
    moves = [StockMove("a", 0, 2, ORDER, 1), StockMove("b", -1, -1, ORDER, 1), StockMove("z", 1, 0, ORDER)]
    assert domain.after(a_shelf(a=5, b=5), moves).free == {"a": 3, "b": 5}
