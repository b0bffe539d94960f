"""`python -m services.orders run`."""

from services.chassis.app import main
from services.orders.app import build
from services.orders.settings import OrdersSettings

main(build, OrdersSettings)
