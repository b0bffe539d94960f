"""What orders reads from its environment."""

from pathlib import Path

from pydantic import Field

from services.chassis.settings import OwnerSettings
from services.orders.reconcilers import Limits


class OrdersSettings(OwnerSettings):
    """The shared settings, and those of orders; times in seconds, compared on the database's clock."""

    address_key_file: Path
    pay_within_s: int = Field(default=900, ge=1)
    """How long a customer may take to pay, counted by payments from when the stock was held."""
    reserve_within_s: int = Field(default=120, ge=1)
    """How long inventory may take to answer once `order.placed` has left the outbox."""
    payment_grace_s: int = Field(default=8_100, ge=1)
    """Beyond `pay_within_s`: until then payments has asked the gateway for the last time."""
    review_within_s: int = Field(default=7_200, ge=1)
    process_within_s: int = Field(default=7_200, ge=1)
    refund_within_s: int = Field(default=90_000, ge=1)
    """How long money may be on its way back; payments calls somebody for a refund it knows of after a day."""
    confirm_phone_within_s: int = Field(default=1_800, ge=1)
    look_every_s: float = Field(default=10.0, gt=0)
    lock_wait_ms: int = Field(default=250, ge=1)
    """A busy row is waited for so long, then the caller gets CONCURRENT_UPDATE."""

    @property
    def limits(self) -> Limits:
        """The time limits of the stages."""
        return Limits(
            reserve_s=self.reserve_within_s,
            payment_grace_s=self.payment_grace_s,
            review_s=self.review_within_s,
            process_s=self.process_within_s,
            phone_s=self.confirm_phone_within_s,
            refund_s=self.refund_within_s,
        )
