"""What the gateway reads from its environment."""

from typing import Annotated

from pydantic import Field

from services.chassis.settings import ServiceSettings

PerMinute = Annotated[int, Field(ge=1, le=10**9)]


class GatewaySettings(ServiceSettings):
    """The shared settings, the addresses behind the gateway and what a caller may ask of it."""

    orders_url: str
    """One address, or those of all replicas with commas between; likewise the others."""
    inventory_url: str
    payments_url: str
    status_page: str = "/v1/checkouts/{id}"
    """Where a browser is sent when it comes back from paying; `{id}` is the checkout."""
    cors_origins: tuple[str, ...] = ()
    hold_s: Annotated[float, Field(gt=0, le=3)] = 3.0
    """How long the POST of a checkout is held at most."""
    anonymous_per_minute: PerMinute = 1_000
    """Per address; people who are not signed in may share one."""
    customer_per_minute: PerMinute = 100
    vendor_per_minute: PerMinute = 1_000
    staff_per_minute: PerMinute = 10_000
    """Per subject: admins, operators, support, services."""
    streams_per_subject: Annotated[int, Field(ge=1, le=100)] = 5
