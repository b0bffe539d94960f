"""`python -m services.payments run`."""

from services.chassis.app import main
from services.payments.app import build
from services.payments.settings import PaymentsSettings

main(build, PaymentsSettings)
