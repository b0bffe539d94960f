"""Everything orders does, each with the state in which it has the most to do."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from contracts.event import Event
from contracts.orders import ItemCancelled, ItemFulfilled, ItemShipped, ItemStep
from services.chassis.app import Service
from services.chassis.housekeeping import HOUSEKEEPING
from services.chassis.ids import new_id
from services.orders import handlers, reconcilers
from services.orders.actions import items as item_actions
from services.orders.app import build
from services.orders.domain import Actor, Checkout, ItemStatus, MoveItem
from services.orders.settings import OrdersSettings
from tests.integration.crash.place import Place, settings_for
from tests.integration.orders.front import CHECKOUT
from tests.support.crash.registered import alarms
from tests.support.crash.trying import Scenario, Work
from tests.support.crash.work import Healing, Hearing
from tests.unit.orders import making

AGE: Final = "update checkouts set since = since - interval '3 hours'"
TIED: Final = "update outbox_shard set snap = pg_current_snapshot()"
OLD_ANSWER: Final = """
    insert into idempotency_keys (caller, route, key, fingerprint, status, body, headers, created_at)
    values (gen_random_uuid(), 'POST /v1/checkouts', 'old', 'x', 201, '{}', '{}', now() - interval '2 days')
"""
ITEM_EVENTS: Final[dict[str, type[ItemStep]]] = {
    "item.shipped": ItemShipped,
    "item.fulfilled": ItemFulfilled,
    "item.cancelled": ItemCancelled,
}
WALK: Final = (ItemStatus.PROCESSING, ItemStatus.SHIPPED, ItemStatus.DELIVERED)


def wired(dsn: str, folder: Path) -> Service:
    """Orders on this database."""
    keys = folder / "address-keys.json"
    keys.write_text(json.dumps({"current": "k1", "keys": {"k1": b64encode(bytes(32)).decode()}}))
    return build(OrdersSettings(address_key_file=keys, **settings_for(dsn, folder)))


def hears(
    event: Callable[[Checkout], Event], stage: str = "awaiting_payment", *, idle: bool = False
) -> Scenario:
    """Two checkouts in this stage hear it, and one of them more than once."""

    async def prepare(place: Place) -> Work:
        make = getattr(place.world, stage)
        first, second = await make(new_id(), kurta=2, topi=1), await make(new_id())
        return Hearing(handlers.consumer, [event(first), event(second), event(first)])

    return Scenario(prepare, idle=idle)


def paid(checkout: Checkout) -> Event:
    return making.verified(checkout.order_id, amount_paisa=checkout.total_paisa or 0)


def rolls_up(topic: str, *walk: ItemStatus, idle: bool = False) -> Scenario:
    """The items of two orders have taken these steps, and their orders hear the last."""

    async def prepare(place: Place) -> Work:
        for one in [await place.world.confirmed(new_id(), kurta=1, topi=1) for _ in range(2)]:
            for line in one.lines:
                for status in walk:
                    await move(place, one, line.id, status)
        rows = await place.world.rows("select payload from outbox where topic = $1 order by id", topic)
        events = [ITEM_EVENTS[topic].model_validate_json(row["payload"]) for row in rows]
        assert len(events) == 4
        return Hearing(handlers.consumer, events)

    return Scenario(prepare, idle=idle)


async def move(place: Place, order: Checkout, item_id: Any, status: ItemStatus) -> None:  # noqa: ANN401
    command = MoveItem(order.order_id, item_id, status, Actor("admin", new_id()), "because")
    async with place.world.db.transaction() as tx:
        await item_actions.move_items(tx, [command])


def heals(name: str, *stages: str, spoil: tuple[str, ...] = (AGE,), idle: bool = False) -> Scenario:
    """Two of each of these are far too old when the duty looks."""

    async def prepare(place: Place) -> Work:
        for stage in stages:
            for _ in range(2):
                await MADE[stage](place)
        for statement in spoil:
            await place.admin.execute(statement)
        return place.heal(name)

    return Scenario(prepare, idle=idle)


async def _placed(place: Place) -> None:
    await place.world.placed(new_id())


async def _unpaid(place: Place) -> None:
    await place.world.awaiting_payment(new_id())


async def _confirmed(place: Place) -> None:
    await place.world.confirmed(new_id())


async def _reviewed(place: Place) -> None:
    waiting = await place.world.awaiting_payment(new_id())
    await place.world.hear(making.held(waiting.order_id, new_id()))


async def _processing(place: Place) -> None:
    waiting = await place.world.awaiting_payment(new_id())
    await place.world.hear(making.failed(waiting.order_id, 5))
    await place.world.hear(making.verified(waiting.order_id, 6, waiting.total_paisa or 0))


async def _refunding(place: Place) -> None:
    waiting = await place.world.awaiting_payment(new_id())
    await place.world.hear(making.failed(waiting.order_id, 5))
    await place.world.hear(making.verified(waiting.order_id, 6, waiting.total_paisa or 0))
    await place.world.hear(making.rejected(await place.world.read(waiting.order_id)))


async def _phoning(place: Place) -> None:
    await place.world.put(user := new_id(), kurta=1)
    [placed] = (await place.world.place(user, method="cod")).changed.values()
    await place.world.hear(making.reserved(placed))


async def _cart(place: Place) -> None:
    await place.world.put(new_id(), kurta=1)


MADE: Final = {
    "placed": _placed,
    "unpaid": _unpaid,
    "confirmed": _confirmed,
    "reviewed": _reviewed,
    "processing": _processing,
    "refunding": _refunding,
    "phoning": _phoning,
    "cart": _cart,
}


async def _places(place: Place) -> Work:
    await place.world.put(user := new_id(), kurta=2, topi=1)
    return place.ask("POST /v1/checkouts", CHECKOUT, who=user)


async def _cancels(place: Place) -> Work:
    waiting = await place.world.awaiting_payment(user := new_id())
    return place.ask(f"POST /v1/checkouts/{waiting.order_id}/cancel", who=user)


async def _puts(place: Place) -> Work:
    await place.world.put(user := new_id(), topi=1)
    return place.ask("PUT /v1/cart/items/kurta", {"quantity": 3}, who=user)


async def _deletes(place: Place) -> Work:
    await place.world.put(user := new_id(), kurta=1, topi=1)
    return place.ask("DELETE /v1/cart/items/kurta", who=user)


async def _cancels_item(place: Place) -> Work:
    order = await place.world.confirmed(user := new_id(), kurta=1, topi=1)
    path = f"/v1/orders/{order.order_id}/items/{order.lines[0].id}/cancel"
    return place.ask(f"POST {path}", {"reason": "too small"}, who=user, headers={"if-match": '"1"'})


async def _moves_item(place: Place) -> Work:
    order = await place.world.confirmed(new_id(), kurta=1, topi=1)
    path = f"/v1/vendor/items/{order.lines[0].id}/status"
    said = {"role": "vendor", "vendor_id": making.SONA, "headers": {"if-match": '"1"'}}
    return place.ask(f"POST {path}", {"new_status": "processing"}, **said)


def sweeps(name: str, *, idle: bool = True) -> Scenario:
    """What every service sweeps out: an old answer is there to be forgotten, an order to be left alone."""

    async def prepare(place: Place) -> Work:
        await place.world.confirmed(new_id())
        await place.admin.execute(OLD_ANSWER)
        [duty] = [one for one in HOUSEKEEPING if one.name == name]
        return Healing(duty)

    return Scenario(prepare, idle=idle)


SCENARIOS: Final = {
    "stock.reserved": hears(making.reserved, "placed"),
    "stock.rejected": hears(making.rejected, "placed"),
    "payment.opened": hears(lambda one: making.opened(one.order_id), idle=True),
    "payment.returned": hears(lambda one: making.came_back(one.order_id, 2)),
    "payment.declined": hears(lambda one: making.declined(one.order_id, 2)),
    "payment.failed": hears(lambda one: making.failed(one.order_id, 2)),
    "payment.verified": hears(paid),
    "payment.held": hears(lambda one: making.held(one.order_id, one.order_id, sequence=2)),
    "payment.refunded": hears(lambda one: making.refunded(one.order_id, 2), "confirmed"),
    "item.shipped": rolls_up("item.shipped", *WALK[:2], idle=True),
    "item.fulfilled": rolls_up("item.fulfilled", *WALK),
    "item.cancelled": rolls_up("item.cancelled", ItemStatus.CANCELLED),
    "cancel_unreserved": heals(
        "cancel_unreserved", "placed", spoil=(AGE, TIED, "update checkouts set asked = true")
    ),
    "expire_unpaid": heals("expire_unpaid", "unpaid"),
    "expire_unconfirmed_phones": heals("expire_unconfirmed_phones", "phoning"),
    "release_long_reviews": heals("release_long_reviews", "reviewed"),
    "refund_unprocessed": heals("refund_unprocessed", "processing"),
    "expire_cart_lines": heals(
        "expire_cart_lines", "cart", spoil=("update cart_lines set expires_at = now()",)
    ),
    "repair_rollups": heals(
        "repair_rollups",
        "confirmed",
        spoil=("update order_items set status = 'delivered', delivered_at = now()",),
    ),
    **{one.name: sweeps(one.name, idle=one.name != "forget_old_answers") for one in HOUSEKEEPING},
    **{one: heals(one, "unpaid", "confirmed", "refunding", idle=True) for one in alarms(reconcilers)},
    "POST /v1/checkouts": Scenario(_places),
    "POST /v1/checkouts/{id}/cancel": Scenario(_cancels),
    "PUT /v1/cart/items/{sku}": Scenario(_puts, frozenset({"cart_lines.expires_at"})),
    "DELETE /v1/cart/items/{sku}": Scenario(_deletes),
    "POST /v1/orders/{id}/items/{item_id}/cancel": Scenario(_cancels_item),
    "POST /v1/vendor/items/{id}/status": Scenario(_moves_item),
}
