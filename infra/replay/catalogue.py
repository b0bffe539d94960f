"""The catalogue a history needs: its sellers as vendors, what they sold, as many units as were bought."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar
from uuid import NAMESPACE_OID, uuid5

from infra.people import Admin
from infra.replay.history import Goods, History
from infra.replay.play import patiently

T = TypeVar("T")
TOGETHER: Final = 400


async def put_on_sale(admin: Admin, history: History, *, times: int = 1) -> None:
    """Import everything; each part carries a key of its own, so that doing it again adds nothing.

    So many `times` the units that were bought: more than once, where an order may be placed more than once.
    """
    bought: Counter[Goods] = Counter()
    for order in history.orders.values():
        bought.update(order.wanted)
    vendors = sorted({str(goods.vendor_id) for goods in bought})
    await _import(admin, "vendors", [_vendor(vendor_id) for vendor_id in vendors])
    await _import(admin, "products", list(_products(bought)))
    units = {goods: times * number for goods, number in bought.items()}
    stock = [{"sku": goods.sku, "on_hand_delta": number} for goods, number in sorted(units.items(), key=_sku)]
    await _import(admin, "stock", stock)


def _vendor(vendor_id: str) -> dict[str, Any]:
    return {"id": vendor_id, "name": f"Seller {vendor_id[:8]}", "delivery_charge_paisa": 0}


def _products(bought: Iterable[Goods]) -> Iterator[dict[str, Any]]:
    by_slug: dict[str, list[Goods]] = {}
    for goods in bought:
        by_slug.setdefault(goods.slug, []).append(goods)
    for slug, variants in sorted(by_slug.items()):
        offered = [{"sku": one.sku, "price_paisa": one.price_paisa} for one in variants]
        vendor_id = str(variants[0].vendor_id)
        yield {"slug": slug, "vendor_id": vendor_id, "title": f"Product {slug[:8]}", "variants": offered}


async def _import(admin: Admin, part: str, rows: Sequence[dict[str, Any]]) -> None:
    for number, chunk in enumerate(_chunks(rows)):
        key = str(uuid5(NAMESPACE_OID, f"{part} {number} {chunk}"))

        async def send(chunk: list[dict[str, Any]] = chunk, key: str = key) -> dict[str, Any]:
            return await admin.call("POST", "/v1/admin/catalogue/imports", {part: chunk}, idempotency_key=key)

        await patiently(send)


def _chunks(rows: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(rows)
    while chunk := list(islice(rest, TOGETHER)):
        yield chunk


def _sku(pair: tuple[Goods, int]) -> str:
    return pair[0].sku
