"""Orders, wired."""

from fastapi import APIRouter

from services.chassis.app import Service
from services.orders import api, handlers, operator_api
from services.orders.addresses import Addresses
from services.orders.health import measuring, numbers_of
from services.orders.reconcilers import timed
from services.orders.settings import OrdersSettings


def build(settings: OrdersSettings) -> Service:
    """The service as one process runs it; raises when the address keys cannot be read."""
    router = APIRouter()
    for part in (api.router, operator_api.router):
        router.include_router(part)
    return Service(
        "orders",
        settings,
        router=router,
        consumer=handlers.consumer,
        reconcilers=timed(settings.limits, look_every_s=settings.look_every_s),
        measures=(measuring(settings.limits),),
        state={"addresses": Addresses.read(settings.address_key_file)},
        numbers=numbers_of(settings.limits),
    )
