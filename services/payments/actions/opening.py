"""Opening what can be paid: an intent when stock is held, another attempt when the payer asks."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from contracts.event import Envelope, Provider
from contracts.inventory import StockReserved
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.chassis.ids import new_id
from services.chassis.telemetry import current_traceparent
from services.payments import domain
from services.payments.actions.story import move
from services.payments.gateways import Gateways
from services.payments.providers import Adapter
from services.payments.settings import PaymentsSettings


async def open_intents(
    tx: Tx, reserved: Sequence[StockReserved], gateways: Gateways
) -> Verdicts[domain.Intent]:
    """Held stock that a gateway is to be paid for opens a window."""
    now = await tx.now()
    return await move(tx, [_wanted(one, now, gateways) for one in reserved], domain.open_intent)


def _wanted(event: StockReserved, now: datetime, gateways: Gateways) -> domain.OpenIntent:
    pay_by = now + timedelta(seconds=event.pay_within_s)
    adapter = None if event.method == "cod" else gateways.adapters.get(event.method)
    return domain.OpenIntent(
        event.order_id,
        "order",
        event.customer_id,
        event.method,
        event.hold_no,
        event.total_paisa,
        pay_by=pay_by,
        close_at=pay_by + timedelta(seconds=gateways.settings.grace_s),
        attempt=None if adapter is None else _new_attempt(now, adapter, gateways.settings),
        envelope=event.envelope,
    )


def _new_attempt(now: datetime, adapter: Adapter, settings: PaymentsSettings) -> domain.NewAttempt:
    expires_at = now + timedelta(seconds=adapter.capabilities.ttl_s)
    return domain.NewAttempt(
        new_id(),
        adapter.provider,
        secrets.token_hex(16),  # whoever knows it can read the payment's status at the gateway
        adapter.merchant_code,
        opened_at=now,
        expires_at=expires_at,
        closes_at=expires_at + timedelta(seconds=settings.horizon_s),
        next_check_at=now + timedelta(seconds=settings.poll_after_open_s[0]),
    )


async def open_another(
    tx: Tx, subject_id: UUID, provider: Provider, gateways: Gateways
) -> Verdicts[domain.Intent]:
    """One more attempt; the caller has just asked about every earlier one."""
    now = await tx.now()
    wanted = domain.OpenAttempt(
        subject_id,
        _new_attempt(now, gateways.adapters[provider], gateways.settings),
        now,
        cut_off_s=gateways.settings.cut_off_s,
        most=gateways.settings.most_attempts,
        envelope=Envelope(traceparent=current_traceparent()),
    )
    return await move(tx, [wanted], domain.open_attempt)
