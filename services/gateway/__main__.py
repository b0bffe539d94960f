"""`python -m services.gateway run`."""

from services.chassis.app import main
from services.gateway.app import build
from services.gateway.settings import GatewaySettings

main(build, GatewaySettings)
