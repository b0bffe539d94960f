"""Door 2, HTTP: carts, checkouts and orders of customers, items of vendors, the search of admins."""

from fastapi import APIRouter

from services.orders.api import admin, cart, checkouts, orders, vendor

router = APIRouter()
for part in (cart, checkouts, orders, vendor, admin):
    router.include_router(part.router)
