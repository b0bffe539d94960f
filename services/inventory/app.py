"""Inventory, wired."""

from services.chassis.app import Service
from services.inventory import api, handlers, health, reconcilers
from services.inventory.settings import InventorySettings


def build(settings: InventorySettings) -> Service:
    """The service as one process runs it."""
    return Service(
        "inventory",
        settings,
        router=api.router,
        consumer=handlers.consumer,
        reconcilers=(reconcilers.alarm_old_holds,),
        numbers=health.numbers,
    )
