"""A history as it was published: usable rows become past orders, the others are named with a reason."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final
from uuid import UUID

ORDERS: Final = "olist_orders_dataset.csv"
ITEMS: Final = "olist_order_items_dataset.csv"
ORDER_COLUMNS: Final = ("order_id", "customer_id", "order_status", "order_purchase_timestamp")
ITEM_COLUMNS: Final = ("order_id", "order_item_id", "product_id", "seller_id", "price")
HEX_ID: Final = re.compile(r"[0-9a-f]{32}")
PRICE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
ITEM_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")
MOST_LINES: Final = 50
MOST_UNITS: Final = 50
"""What one checkout takes."""
ENDS_AS: Final = {
    "delivered": "delivered",
    "canceled": "cancelled",
    "unavailable": "cancelled",
    "shipped": "shipped",
    "invoiced": "processing",
    "processing": "processing",
    "approved": "processing",
    "created": "processing",
}
"""What each status of the history means for the items of an order."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """One row that is left out, and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Goods:
    """What was bought: one product of one seller at one price."""

    product: str
    seller: str
    price_paisa: int

    @property
    def sku(self) -> str:
        return f"{self.product}-{self.seller}-{self.price_paisa}"

    @property
    def slug(self) -> str:
        return f"{self.product}-{self.seller}"

    @property
    def vendor_id(self) -> UUID:
        return UUID(self.seller)


@dataclass(slots=True)
class PastOrder:
    """One order of the history: who, what, and how its items ended."""

    id: str
    customer: str
    ends_as: str
    status: str
    line: int
    wanted: dict[Goods, int] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """Everything that can be replayed, in the order of the file, and everything that cannot."""

    orders: dict[str, PastOrder] = field(default_factory=dict)
    unusable: list[Unusable] = field(default_factory=list)


class UnreadableHistoryError(ValueError):
    """The folder or a file is not such a history at all; the message says which and why."""


def read(folder: Path) -> History:
    """The history in this folder; raises UnreadableHistoryError when there is none."""
    history = History()
    for line, row in _rows(folder / ORDERS, ORDER_COLUMNS, history.unusable):
        _add_order(history, line, row)
    seen: set[tuple[str, str]] = set()
    for line, row in _rows(folder / ITEMS, ITEM_COLUMNS, history.unusable):
        _add_item(history, line, row, seen)
    _leave_out_what_cannot_be_placed(history)
    return history


def _rows(
    path: Path, columns: tuple[str, ...], unusable: list[Unusable]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its line; a row is one line, so that a stray quote costs no more than its own."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = _cells(file.readline()) or []
            if missing := [name for name in columns if name not in header]:
                raise UnreadableHistoryError(f"{path.name}: no column {', '.join(missing)}")
            for line, text in enumerate(file, 2):
                cells = _cells(text)
                if cells is None:
                    unusable.append(Unusable(path.name, line, "row: not comma-separated values"))
                elif len(cells) not in (0, len(header)):
                    reason = f"row: {len(cells)} values under {len(header)} columns"
                    unusable.append(Unusable(path.name, line, reason))
                elif cells:
                    yield line, {name: cells[header.index(name)].strip() for name in columns}
    except OSError as error:
        raise UnreadableHistoryError(f"{path}: {error.strerror}") from error


def _cells(text: str) -> list[str] | None:
    """The values in one line, none in an empty one; None when it is not such a line."""
    try:
        return next(csv.reader([text], strict=True), []) if text.strip() else []
    except csv.Error:
        return None


def _add_order(history: History, line: int, row: dict[str, str]) -> None:
    if reason := _wrong_with_order(history, row):
        history.unusable.append(Unusable(ORDERS, line, reason))
        return
    status = row["order_status"]
    order = PastOrder(row["order_id"], row["customer_id"], ENDS_AS[status], status, line)
    history.orders[order.id] = order


def _wrong_with_order(history: History, row: dict[str, str]) -> str:
    for name in ("order_id", "customer_id"):
        if not HEX_ID.fullmatch(row[name]):
            return f"{name}: not 32 hexadecimal digits"
    if row["order_id"] in history.orders:
        return "order_id: listed before"
    if row["order_status"] not in ENDS_AS:
        return f"order_status: {row['order_status'] or 'missing'!r} is not one we know"
    try:
        datetime.fromisoformat(row["order_purchase_timestamp"])
    except ValueError:
        return "order_purchase_timestamp: not a date"
    return ""


def _add_item(history: History, line: int, row: dict[str, str], seen: set[tuple[str, str]]) -> None:
    number = (row["order_id"], row["order_item_id"])
    reason = "order_item_id: listed before" if number in seen else _wrong_with_item(history, row)
    if reason:
        history.unusable.append(Unusable(ITEMS, line, reason))
        return
    seen.add(number)
    goods = Goods(row["product_id"], row["seller_id"], int(Decimal(row["price"]) * 100))
    wanted = history.orders[row["order_id"]].wanted
    wanted[goods] = wanted.get(goods, 0) + 1


def _wrong_with_item(history: History, row: dict[str, str]) -> str:
    if row["order_id"] not in history.orders:
        return "order_id: no usable order has it"
    if not ITEM_NUMBER.fullmatch(row["order_item_id"]):
        return "order_item_id: not a number from 1"
    for name in ("product_id", "seller_id"):
        if not HEX_ID.fullmatch(row[name]):
            return f"{name}: not 32 hexadecimal digits"
    if not row["price"]:
        return "price: missing"
    try:
        usable = bool(PRICE.fullmatch(row["price"])) and Decimal(row["price"]) > 0
    except InvalidOperation:
        usable = False
    return "" if usable else "price: not an amount of rupees above 0"


def _leave_out_what_cannot_be_placed(history: History) -> None:
    """No item of it can be used, or it is larger than one checkout may be."""
    for order in list(history.orders.values()):
        if reason := _wrong_as_a_whole(order):
            history.unusable.append(Unusable(ORDERS, order.line, f"order_id: {order.id} {reason}"))
            del history.orders[order.id]


def _wrong_as_a_whole(order: PastOrder) -> str:
    if not order.wanted:
        return "has no usable item"
    if len(order.wanted) > MOST_LINES:
        return f"has more than {MOST_LINES} different items"
    if max(order.wanted.values()) > MOST_UNITS:
        return f"has more than {MOST_UNITS} of one item"
    return ""
