"""Whatever events come, in any order, as often as they like, in batches of any size: the stock is right."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from contracts.event import Event
from contracts.orders import WantedLine
from services.chassis.decisions import Unchanged
from tests.unit.inventory.examples import (
    cancelled,
    expired,
    finalized,
    item_cancelled,
    placed,
    revived,
    shipped,
    wanted_lines,
)
from tests.unit.inventory.world import World

ORDERS = [UUID(int=number) for number in range(1, 5)]
ITEMS = [UUID(int=number) for number in range(11, 15)]
ON_HAND = {"a": 3, "b": 2}

order_ids = st.sampled_from(ORDERS)
item_ids = st.sampled_from(ITEMS)
hold_nos = st.integers(1, 3)
carts = st.lists(st.tuples(st.sampled_from(["a", "b", "unknown"]), st.integers(1, 3)), min_size=1, max_size=3)


def _lines(cart: Sequence[tuple[str, int]]) -> list[WantedLine]:
    return [line for sku, quantity in cart for line in wanted_lines(**{sku: quantity})]


events: st.SearchStrategy[Event] = st.one_of(
    st.builds(lambda order, cart: placed(order, *_lines(cart)), order_ids, carts),
    st.builds(lambda order, number: revived(order, number + 1, a=1), order_ids, hold_nos),
    st.builds(expired, order_ids, hold_nos),
    st.builds(lambda order, fact: cancelled(order, finalized=fact), order_ids, st.booleans()),
    st.builds(finalized, order_ids, hold_nos),
    st.builds(shipped, order_ids),
    st.builds(
        lambda order, item, restock: item_cancelled(order, item, restock=restock),
        order_ids,
        item_ids,
        st.booleans(),
    ),
)
stories = st.lists(events, max_size=25)


@given(stories)
def test_promised_sold_and_returned_units_always_add_up(story: list[Event]) -> None:
    world = World(ON_HAND)
    for event in story:
        world.hear(event)
        world.check()


@given(stories, st.lists(st.integers(1, 6), min_size=1))
def test_a_batch_decides_what_one_by_one_would_have_decided(story: list[Event], sizes: list[int]) -> None:
    one_by_one, in_batches = World(ON_HAND), World(ON_HAND)
    for event in story:
        one_by_one.hear(event)
    rest, turn = story, 0
    while rest:
        size = sizes[turn % len(sizes)]
        in_batches.hear(*rest[:size])
        rest, turn = rest[size:], turn + 1
    assert in_batches.orders == one_by_one.orders
    assert in_batches.on_hand == one_by_one.on_hand
    assert in_batches.reserved == one_by_one.reserved
    assert in_batches.told == one_by_one.told


@given(stories)
def test_what_was_heard_and_changed_something_changes_nothing_when_it_comes_again(story: list[Event]) -> None:
    world = World(ON_HAND)
    for event in story:
        before = world.hear(event)
        again = world.hear(event)
        if not before.changed:
            continue
        assert again.outcomes == (Unchanged(),)
