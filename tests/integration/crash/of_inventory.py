"""Everything inventory does, each with the state in which it has the most to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import orjson

from contracts.event import Event
from contracts.orders import ItemFulfilled
from services.chassis.app import Service
from services.inventory import handlers, reconcilers
from services.inventory.app import build
from services.inventory.settings import InventorySettings
from tests.integration.crash.place import Place, settings_for
from tests.support.crash.registered import alarms
from tests.support.crash.trying import Scenario, Work
from tests.support.crash.work import Hearing
from tests.unit.inventory import examples
from tests.unit.inventory.examples import VENDOR

VERSIONS: Final = frozenset({"vendors.version", "products.version"})
"""A PUT that is sent again writes again; only the version counts it."""
PRODUCT: Final[dict[str, Any]] = {
    "vendor_id": str(VENDOR),
    "title": "Kurta, long",
    "variants": [{"sku": "a", "price_paisa": 900}, {"sku": "new", "price_paisa": 950}],
}


def wired(dsn: str, folder: Path) -> Service:
    """Inventory on this database."""
    return build(InventorySettings(**settings_for(dsn, folder)))


def hears(event: Callable[[UUID], Event], *before: Callable[[UUID], Event]) -> Scenario:
    """Two orders have come this far and hear it, and one of them more than once."""

    async def prepare(place: Place) -> Work:
        await place.world.fill(a=9, b=9)
        orders = [uuid4(), uuid4()]
        for step in before:
            await place.world.hear(*(step(order) for order in orders))
        return Hearing(handlers.consumer, [event(orders[0]), event(orders[1]), event(orders[0])])

    return Scenario(prepare)


def fulfilled(order_id: UUID) -> Event:
    said = examples.shipped(order_id).model_dump(mode="json") | {"delivered_at": examples.NOON}
    return ItemFulfilled.model_validate_json(orjson.dumps(said))


def placed(order_id: UUID) -> Event:
    return examples.placed(order_id, a=2, b=1)


def sold(order_id: UUID) -> Event:
    return examples.finalized(order_id, a=2, b=1)


def alarm(name: str) -> Scenario:
    """A hold is far too old when the duty looks."""

    async def prepare(place: Place) -> Work:
        await place.world.fill(a=5)
        await place.world.hear(examples.placed(uuid4()))
        await place.admin.execute("update holds set opened_at = now() - interval '7 hours'")
        return place.heal(name)

    return Scenario(prepare, idle=True)


def asks(request: str, body: object = None, **said: Any) -> Scenario:  # noqa: ANN401
    """Somebody asks for this in a shop with two SKUs on its shelves."""

    async def prepare(place: Place) -> Work:
        await place.world.fill(a=5, b=5)
        return place.ask(request, body, **{"role": "admin"} | said)

    return Scenario(prepare, VERSIONS)


COUNTED: Final = {"delta": 3, "reason": "counted"}
SCENARIOS: Final = {
    "order.placed": hears(placed),
    "order.revived": hears(lambda one: examples.revived(one, a=2, b=1), placed, examples.expired),
    "order.expired": hears(examples.expired, placed),
    "order.cancelled": hears(examples.cancelled, placed),
    "order.finalized": hears(sold, placed),
    "item.shipped": hears(lambda one: examples.shipped(one, quantity=2), placed),
    "item.fulfilled": hears(fulfilled, placed),
    "item.cancelled": hears(lambda one: examples.item_cancelled(one, UUID(int=one.int ^ 1)), placed, sold),
    **{one: alarm(one) for one in alarms(reconcilers)},
    "POST /v1/vendor/stock/{sku}/adjustments": asks(
        "POST /v1/vendor/stock/a/adjustments", COUNTED, role="vendor", vendor_id=VENDOR
    ),
    "POST /v1/admin/stock/{sku}/adjustments": asks("POST /v1/admin/stock/a/adjustments", COUNTED),
    "PUT /v1/admin/vendors/{vendor_id}": asks(
        f"PUT /v1/admin/vendors/{UUID(int=7)}", {"name": "Raju", "delivery_charge_paisa": 50_00}
    ),
    "PUT /v1/admin/products/{slug}": asks("PUT /v1/admin/products/kurta", PRODUCT),
    "DELETE /v1/admin/products/{slug}": asks("DELETE /v1/admin/products/kurta"),
    "POST /v1/admin/catalogue/imports": asks(
        "POST /v1/admin/catalogue/imports",
        {"products": [{"slug": "kurta", **PRODUCT}], "stock": [{"sku": "a", "on_hand_delta": 4}]},
    ),
}
