"""From a cart to a finalized order, on a real database."""

from services.chassis.ids import new_id
from tests.integration.orders.world import Orders
from tests.unit.orders import making


async def test_a_paid_checkout_becomes_an_order_with_its_items(orders: Orders) -> None:
    user = new_id()
    await orders.put(user, kurta=2, topi=1)
    [placed] = (await orders.place(user)).changed.values()
    await orders.hear(making.reserved(placed))
    await orders.hear(making.verified(placed.order_id, sequence=3, amount_paisa=300_00))

    assert (await orders.read(placed.order_id)).stage == "confirmed"
    [order] = await orders.rows("select * from orders where order_id = $1", placed.order_id)
    assert order["status"] == "confirmed"
    assert order["total_paisa"] == 300_00
    assert order["order_number"].startswith("ORD-20")
    items = await orders.rows("select * from order_items order by line")
    assert [(item["sku"], item["quantity"], item["status"]) for item in items] == [
        ("kurta", 2, "pending"),
        ("topi", 1, "pending"),
    ]
    assert await orders.told(placed.order_id) == [
        "order.placed",
        "order.state",
        "order.finalized",
        "order.state",
    ]
    assert await orders.rows("select from cart_lines") == []
