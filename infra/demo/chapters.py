"""The chapters: each plays one thing that used to go wrong, and checks that it went right."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from infra.demo.scene import Scene, eventually, expect, npr
from infra.people import ApiError, Customer

Chapter = Callable[[Scene], Awaitable[None]]


def at_stage(stage: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda checkout: checkout["stage"] == stage


async def three_vendors(scene: Scene) -> None:
    """An order of three vendors, from cart to delivered."""
    goods = [
        await scene.goods("kurta", price_paisa=129_900, stock=5),
        await scene.goods("shawl", price_paisa=49_950, stock=5),
        await scene.goods("earrings", price_paisa=14_700, stock=5),
    ]
    buyer = scene.customer()
    for _, sku in goods:
        await buyer.wants(sku, 1)
    checkout = await buyer.check_out()
    expect(checkout["stage"] == "awaiting_payment", f"the checkout is at {checkout['stage']}")
    scene.say(f"three lines held, {npr(checkout['amount_paisa'])} to pay, success not shown yet")
    paid = await scene.pay(checkout)
    scene.say(f"paid at eSewa ({paid.ref_id}); the browser came back with {paid.return_status}")
    await _confirmed(scene, buyer, checkout["id"])
    for vendor_id, _ in goods:
        await _deliver(scene, vendor_id, checkout["id"])
    order, took = await eventually(
        partial(buyer.order, checkout["id"]), lambda one: one["status"] == "delivered", "delivered"
    )
    expect(len(order["items"]) == len(goods), "an item is missing")
    scene.say(
        f"{order['order_number']}: three vendors delivered, the order followed {took:.2f} s after the last"
    )


async def _confirmed(scene: Scene, buyer: Customer, checkout_id: str) -> None:
    _, took = await eventually(partial(buyer.checkout, checkout_id), at_stage("confirmed"), "confirmed")
    order = await buyer.order(checkout_id)
    cart = await buyer.call("GET", "/v1/cart")
    expect(order["items"], "the order has no items")
    expect(not cart["lines"], "the cart is not empty")
    items = len(order["items"])
    scene.say(f"{order['order_number']} confirmed {took:.2f} s later, items: {items}, the cart is empty")


async def _deliver(scene: Scene, vendor_id: Any, order_id: str) -> None:  # noqa: ANN401 - a UUID
    vendor = scene.vendor(vendor_id)
    page = await vendor.call("GET", "/v1/vendor/items?status=pending")
    item = next(one for one in page["data"] if one["order_id"] == order_id)
    for status in ("processing", "shipped", "delivered"):
        item = await vendor.move(item, status)
    scene.say(f"vendor {str(vendor_id)[:8]}: {item['title']} processing, shipped, delivered")


async def closed_tab(scene: Scene) -> None:
    """A buyer whose tab closes right after paying."""
    _, sku = await scene.goods("topi", price_paisa=34_900, stock=3)
    buyer = scene.customer()
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    await scene.pay(checkout, follow_return=False)
    scene.say("paid, and nobody came back to say so")
    await _confirmed(scene, buyer, checkout["id"])
    scene.say("payments had asked the gateway by itself")


async def stock_out(scene: Scene) -> None:
    """Two things wanted, one of them gone: nothing is held, and the reason is said."""
    _, plenty = await scene.goods("scarf", price_paisa=20_000, stock=9)
    _, scarce = await scene.goods("ring", price_paisa=90_000, stock=1)
    buyer = scene.customer()
    await buyer.wants(plenty, 2)
    await buyer.wants(scarce, 2)
    try:
        checkout = await buyer.check_out()
    except ApiError as refused:
        reasons = {one["code"] for one in refused.problem["errors"]}
        expect(
            refused.code == "CHECKOUT_REJECTED" and reasons == {"OUT_OF_STOCK"},
            f"refused with {refused.problem}",
        )
    else:
        expect(False, f"accepted at stage {checkout['stage']}")  # noqa: FBT003
    expect(await scene.available(plenty) == 9, "units of the other line are still held")  # noqa: PLR2004
    cart = await buyer.call("GET", "/v1/cart")
    expect({line["sku"] for line in cart["lines"]} == {plenty, scarce}, "the cart lost its lines")
    scene.say("409 CHECKOUT_REJECTED: OUT_OF_STOCK; nothing held, the cart as it was")


async def killed_service(scene: Scene) -> None:
    """Orders is killed; the payment comes while it is down; the order comes all the same."""
    _, sku = await scene.goods("dhaka-bag", price_paisa=250_000, stock=2)
    buyer = scene.customer()
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    before = scene.stack.pid("orders")
    scene.stack.kill("orders")
    await scene.pay(checkout)
    scene.say(f"orders (process {before}) killed with SIGKILL, then paid")
    await scene.stack.wait_ready("orders")
    after = scene.stack.pid("orders")
    expect(after != before, "orders was not started again")
    scene.say(f"orders is back as process {after}, nobody touched anything")
    await _confirmed(scene, buyer, checkout["id"])


CHAPTERS: tuple[Chapter, ...] = (three_vendors, closed_tab, stock_out, killed_service)
