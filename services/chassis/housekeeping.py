"""What every service that owns tables sweeps out by itself, in bounded batches."""

from datetime import datetime

import structlog

from services.chassis import idempotency, leases
from services.chassis.db import Tx
from services.chassis.inbox_rotation import empty_old_inbox_days
from services.chassis.reconciler import STUCK, every
from services.chassis.rotation import empty_old_days

LOG = structlog.get_logger("housekeeping")


@every(seconds=60)
async def forget_old_answers(tx: Tx, now: datetime) -> int:
    """An answer under an Idempotency-Key is kept for a day."""
    return await idempotency.sweep(tx, now)


@every(seconds=10, alarm=STUCK.labels("outbox_shard"))
async def alarm_idle_shards(tx: Tx, _: datetime) -> int:
    """A part of the outbox that nobody publishes: living relays take it over in seconds, so none is alive."""
    idle = await leases.idle_shards(tx)
    if idle:
        LOG.error("nobody publishes a part of the outbox", shards=idle)
    return idle


HOUSEKEEPING = (forget_old_answers, empty_old_days, empty_old_inbox_days, alarm_idle_shards)
