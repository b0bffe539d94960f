"""What inventory reads from its environment."""

from services.chassis.settings import OwnerSettings


class InventorySettings(OwnerSettings):
    """The shared settings of a service that owns tables; inventory adds none of its own."""
