"""Payments, wired."""

from services.chassis.app import Service
from services.payments import api, gateways, handlers, health, reconcilers
from services.payments.poller import poll_attempts
from services.payments.settings import PaymentsSettings


def build(settings: PaymentsSettings) -> Service:
    """The service as one process runs it."""
    in_use = gateways.use(settings)
    return Service(
        "payments",
        settings,
        router=api.router,
        consumer=handlers.consumer,
        reconcilers=(
            reconcilers.close_windows,
            reconcilers.alarm_unanswered,
            reconcilers.open_unanswered_cases,
            reconcilers.wake_forgotten_attempts,
            reconcilers.alarm_unchecked_attempts,
            reconcilers.alarm_waiting_refunds,
            reconcilers.alarm_open_cases,
        ),
        workers=(poll_attempts,),
        measures=(health.measuring(settings),),
        at_end=(in_use.close,),
        numbers=health.numbers_of(settings),
    )
