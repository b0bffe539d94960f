"""Reading a history: what can be used is used, and whatever cannot is named with file, line and reason."""

import tempfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.replay import history
from infra.replay.history import ITEM_COLUMNS, ITEMS, ORDER_COLUMNS, ORDERS, Goods, History, Unusable

BUYER, PRODUCT, SELLER = "b" * 32, "c" * 32, "d" * 32
WHEN = "2017-05-06 07:08:09"

Table = Sequence[Sequence[object]]


def an_id(number: int) -> str:
    return f"{number:032x}"


def an_order(
    number: int = 1, status: str = "delivered", customer: str = BUYER, when: str = WHEN
) -> list[str]:
    return [an_id(number), customer, status, when]


def an_item(
    number: int = 1, place: object = 1, price: str = "10.5", product: str = PRODUCT, seller: str = SELLER
) -> list[str]:
    return [an_id(number), str(place), product, seller, price]


def lines(header: Sequence[str], rows: Table) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in [header, *rows])


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Table, Table], History]:
    """Reads these orders and these items from files."""

    def from_files(orders: Table, items: Table) -> History:
        (tmp_path / ORDERS).write_text(lines(ORDER_COLUMNS, orders))
        (tmp_path / ITEMS).write_text(lines(ITEM_COLUMNS, items))
        return history.read(tmp_path)

    return from_files


Read = Callable[[Table, Table], History]


def test_an_order_is_its_items_counted_and_where_they_ended(read: Read) -> None:
    past = read([an_order()], [an_item(place=1), an_item(place=2), an_item(place=3, price="7")])
    [order] = past.orders.values()
    assert order.wanted == {Goods(PRODUCT, SELLER, 1050): 2, Goods(PRODUCT, SELLER, 700): 1}
    assert (order.customer, order.status, order.ends_as, order.line) == (BUYER, "delivered", "delivered", 2)
    assert past.unusable == []


@pytest.mark.parametrize(("status", "ends_as"), history.ENDS_AS.items())
def test_every_status_has_an_end(read: Read, status: str, ends_as: str) -> None:
    [order] = read([an_order(status=status)], [an_item()]).orders.values()
    assert order.ends_as == ends_as


BAD_ORDERS = {
    "order_id: not 32 hexadecimal digits": ["xyz", BUYER, "delivered", WHEN],
    "customer_id: not 32 hexadecimal digits": an_order(9, customer=""),
    "order_id: listed before": an_order(1, status="shipped"),
    "order_status: 'lost' is not one we know": an_order(9, status="lost"),
    "order_status: 'missing' is not one we know": an_order(9, status=""),
    "order_purchase_timestamp: not a date": an_order(9, when="2017-13-01 00:00:00"),
    "row: 3 values under 4 columns": an_order(9)[:3],
    "row: 5 values under 4 columns": [*an_order(9), "more"],
    "row: not comma-separated values": ['"' + an_id(9), BUYER, "delivered", WHEN],
}


@pytest.mark.parametrize(("reason", "row"), BAD_ORDERS.items(), ids=list(BAD_ORDERS))
def test_an_order_that_cannot_be_used_is_named_and_the_others_go_on(
    read: Read, reason: str, row: list[str]
) -> None:
    past = read([an_order(1), row, an_order(2)], [an_item(1), an_item(2)])
    assert past.unusable == [Unusable(ORDERS, 3, reason)]
    assert list(past.orders) == [an_id(1), an_id(2)]
    assert past.orders[an_id(1)].ends_as == "delivered"


BAD_ITEMS = {
    "order_id: no usable order has it": an_item(9),
    "order_item_id: listed before": an_item(1, 1, "99"),
    "order_item_id: not a number from 1": an_item(1, "one"),
    "product_id: not 32 hexadecimal digits": an_item(1, 2, product="C" * 32),
    "seller_id: not 32 hexadecimal digits": an_item(1, 2, seller="d" * 31),
    "price: missing": an_item(1, 2, " "),
    "price: not an amount of rupees above 0": an_item(1, 2, "0.00"),
    "row: 4 values under 5 columns": an_item(1, 2)[:4],
    "row: not comma-separated values": [*an_item(1, 2)[:4], '"1'],
}


@pytest.mark.parametrize(("reason", "row"), BAD_ITEMS.items(), ids=list(BAD_ITEMS))
def test_an_item_that_cannot_be_used_is_named_and_the_others_go_on(
    read: Read, reason: str, row: list[str]
) -> None:
    past = read([an_order(1), an_order(2)], [an_item(1), row, an_item(2)])
    assert past.unusable == [Unusable(ITEMS, 3, reason)]
    assert [order.wanted for order in past.orders.values()] == 2 * [{Goods(PRODUCT, SELLER, 1050): 1}]


@pytest.mark.parametrize(
    "price",
    ["-1", "1.005", "1,5", "1e3", "NaN", "Infinity", "0x10", "10 000", "१०", "9999999999", "+1", ".5"],
)
def test_an_odd_price_is_not_guessed_at(read: Read, price: str) -> None:
    past = read([an_order()], [an_item(price=f'"{price}"'), an_item(place=2)])
    assert past.unusable == [Unusable(ITEMS, 2, "price: not an amount of rupees above 0")]


@given(paisa=st.integers(1, 10**11 - 1), short=st.booleans())
def test_a_price_is_exact_to_the_paisa(paisa: int, short: bool) -> None:  # noqa: FBT001 - drawn by chance
    text = str(Decimal(paisa) / 100) if short else f"{paisa // 100}.{paisa % 100:02}"
    with folder_of([an_order()], [an_item(price=text)]) as folder:
        [order] = history.read(folder).orders.values()
    assert list(order.wanted) == [Goods(PRODUCT, SELLER, paisa)]


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "has no usable item"),
        ([an_item(1, place) for place in range(1, 52)], "has more than 50 of one item"),
        (
            [an_item(1, place, product=an_id(place)) for place in range(1, 52)],
            "has more than 50 different items",
        ),
    ],
)
def test_an_order_that_no_checkout_takes_is_named(read: Read, items: Table, reason: str) -> None:
    past = read([an_order(1), an_order(2)], [*items, an_item(2)])
    assert past.unusable == [Unusable(ORDERS, 2, f"order_id: {an_id(1)} {reason}")]
    assert list(past.orders) == [an_id(2)]


def test_columns_may_stand_in_any_order_among_others_behind_a_mark(tmp_path: Path) -> None:
    (tmp_path / ORDERS).write_text(
        f"\ufefforder_status,more,order_id,customer_id,order_purchase_timestamp\r\n"
        f'"shipped",x,{an_id(1)},{BUYER},{WHEN}\r\n\r\n',
        newline="",
    )
    (tmp_path / ITEMS).write_text(lines(ITEM_COLUMNS, [an_item()]))
    past = history.read(tmp_path)
    assert [order.ends_as for order in past.orders.values()] == ["shipped"]
    assert past.unusable == []


def test_bytes_that_are_no_text_cost_one_row(tmp_path: Path) -> None:
    good = lines(ORDER_COLUMNS, [an_order(1), an_order(2), an_order(3)]).encode()
    second = good.index(an_id(2).encode())
    (tmp_path / ORDERS).write_bytes(good[:second] + b"\xff\x00" + good[second + 2 :])
    (tmp_path / ITEMS).write_text(lines(ITEM_COLUMNS, [an_item(1), an_item(3)]))
    past = history.read(tmp_path)
    assert [(one.file, one.line) for one in past.unusable] == [(ORDERS, 3)]
    assert list(past.orders) == [an_id(1), an_id(3)]


@pytest.mark.parametrize("name", [ORDERS, ITEMS])
def test_a_file_without_its_columns_is_no_history(read: Read, tmp_path: Path, name: str) -> None:
    read([an_order()], [an_item()])
    (tmp_path / name).write_text("order_id,price\n")
    with pytest.raises(history.UnreadableHistoryError, match=f"{name}: no column"):
        history.read(tmp_path)
    (tmp_path / name).write_text("")
    with pytest.raises(history.UnreadableHistoryError, match=f"{name}: no column"):
        history.read(tmp_path)


def test_a_missing_folder_or_file_is_named(read: Read, tmp_path: Path) -> None:
    with pytest.raises(history.UnreadableHistoryError, match="nowhere"):
        history.read(tmp_path / "nowhere")
    read([an_order()], [an_item()])
    (tmp_path / ITEMS).unlink()
    with pytest.raises(history.UnreadableHistoryError, match=ITEMS):
        history.read(tmp_path)


CELL = st.sampled_from(
    [an_id(1), an_id(2), BUYER, SELLER, "delivered", WHEN, "1", "2", "9.90", "", '"', "x", "\0"]
)
ANY_ROWS = st.lists(st.lists(CELL, min_size=1, max_size=6).filter(any), max_size=12)


@given(orders=ANY_ROWS, items=ANY_ROWS)
def test_every_row_is_either_used_or_named(orders: Table, items: Table) -> None:
    """Whatever the files hold: nothing raises, nothing vanishes, and what is used can be placed."""
    with folder_of(orders, items) as folder:
        past = history.read(folder)
    named = [(one.file, one.line) for one in past.unusable]
    whole = {(ORDERS, order.line) for order in past.orders.values()}
    assert {(ORDERS, line) for line in range(2, len(orders) + 2)} == whole | {
        place for place in named if place[0] == ORDERS
    }
    used = sum(sum(order.wanted.values()) for order in past.orders.values())
    left_out = sum(one.file == ITEMS for one in past.unusable)
    assert used + left_out == len(items)
    assert all(order.wanted for order in past.orders.values())


class folder_of:  # noqa: N801 - reads as a statement: with folder_of(...)
    """A folder with these files, for one example of a property."""

    def __init__(self, orders: Table, items: Table) -> None:
        self.folder = tempfile.TemporaryDirectory()
        (Path(self.folder.name) / ORDERS).write_text(lines(ORDER_COLUMNS, orders))
        (Path(self.folder.name) / ITEMS).write_text(lines(ITEM_COLUMNS, items))

    def __enter__(self) -> Path:
        return Path(self.folder.name)

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()
