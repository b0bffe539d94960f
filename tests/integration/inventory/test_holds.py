"""The story of a hold in a real database: promised, sold, given back, returned."""

from uuid import uuid4

from tests.integration.inventory.shop import Shop
from tests.unit.inventory.examples import finalized, placed


async def test_a_placed_order_is_held_and_a_finalized_one_is_sold(shop: Shop) -> None:
    await shop.fill(a=5, b=5)
    order = uuid4()

    await shop.hear(placed(order, a=2, b=1))
    assert await shop.units("a") == (5, 2)
    assert await shop.told(order) == [("stock.reserved", 1)]

    await shop.hear(finalized(order, a=2, b=1))
    assert await shop.units("a") == (3, 0)
    sold = await shop.rows("select sku, delta from stock_movements where kind = 'sold' order by sku")
    assert sold == [("a", -2), ("b", -1)]
    assert await shop.broken_promises() == []


async def test_one_missing_line_holds_nothing(shop: Shop) -> None:
    await shop.fill(a=5, b=0)
    order = uuid4()

    await shop.hear(placed(order, a=2, b=1))

    assert await shop.units("a") == (5, 0)
    assert await shop.told(order) == [("stock.rejected", 1)]
    assert await shop.broken_promises() == []
