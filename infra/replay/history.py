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
    for line, row in _rows(folder / ORDERS, ORDER_COLUMNS):
        _add_order(history, line, row)
    seen: set[tuple[str, str]] = set()
    for line, row in _rows(folder / ITEMS, ITEM_COLUMNS):
        _add_item(history, line, row, seen)
    _leave_out_empty(history)
    return history


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise UnreadableHistoryError(f"{path.name}: no column {', '.join(missing)}")
            for row in reader:
                yield reader.line_num, {name: (row.get(name) or "").strip() for name in columns}
    except OSError as error:
        raise UnreadableHistoryError(f"{path}: {error.strerror}") from error


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


def _leave_out_empty(history: History) -> None:
    """An order none of whose items can be used cannot be placed."""
    for order in [one for one in history.orders.values() if not one.wanted]:
        history.unusable.append(Unusable(ORDERS, order.line, f"order_id: {order.id} has no usable item"))
        del history.orders[order.id]
