"""`python -m services.inventory run`."""

from services.chassis.app import main
from services.inventory.app import build
from services.inventory.settings import InventorySettings

main(build, InventorySettings)
