"""What every service that owns tables sweeps out by itself, in bounded batches."""

from datetime import datetime

from services.chassis import idempotency
from services.chassis.db import Tx
from services.chassis.inbox_rotation import empty_old_inbox_days
from services.chassis.reconciler import every
from services.chassis.rotation import empty_old_days


@every(seconds=60)
async def forget_old_answers(tx: Tx, now: datetime) -> int:
    """An answer under an Idempotency-Key is kept for a day."""
    return await idempotency.sweep(tx, now)


HOUSEKEEPING = (forget_old_answers, empty_old_days, empty_old_inbox_days)
