"""What everybody sells and who buys: the same vendors, SKUs, stock and carts for each contender."""

import random
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import orjson

VENDORS: Final = 100
SKUS: Final = 2_000
STOCK_OF_EACH: Final = 1_000_000
LINES: Final = 2
"""Of each cart, one unit each."""

SEED: Final = 7


def vendor(number: int) -> UUID:
    """A vendor's id, by number."""
    return UUID(int=(1 << 96) + number)


def customer(number: int) -> UUID:
    """The customer who places the order of this number; each orders once."""
    return UUID(int=(2 << 96) + number)


def number_of(customer_id: UUID) -> int:
    """The number of the order this customer places."""
    return customer_id.int - (2 << 96)


def product(number: int) -> UUID:
    """A product's id, by number; each has one SKU."""
    return UUID(int=(3 << 96) + number)


def vendor_rows() -> Iterable[tuple[UUID, str, int]]:
    """(id, name, delivery charge in paisa)."""
    return ((vendor(number), f"Vendor {number}", 10_000) for number in range(VENDORS))


def sku(number: int) -> str:
    """A SKU by number; it says which product and which size."""
    return f"KB-{number:05d}-M"


def sku_rows() -> Iterable[tuple[int, str, UUID, str, str, int]]:
    """(number, SKU, vendor, slug, title, price in paisa)."""
    return (
        (
            number,
            sku(number),
            vendor(number % VENDORS),
            f"product-{number}",
            f"Product {number}",
            149_000 + number,
        )
        for number in range(SKUS)
    )


def cart_rows(orders: int) -> Iterable[tuple[UUID, str, int]]:
    """(customer, SKU, quantity): the carts of the first `orders` customers, always the same ones."""
    dice = random.Random(SEED)  # noqa: S311 - a fixed world, not a secret
    for number in range(orders):
        for chosen in dice.sample(range(SKUS), LINES):
            yield customer(number), sku(chosen), 1


def gateway_answer(reference: str, amount_paisa: int) -> str:
    """What the gateway says when it is asked about a payment: paid, as everybody keeps it for evidence."""
    return orjson.dumps(
        {
            "product_code": "EPAYTEST",
            "transaction_uuid": reference,
            "total_amount": amount_paisa / 100,
            "status": "COMPLETE",
            "ref_id": reference[:12],
        }
    ).decode()
