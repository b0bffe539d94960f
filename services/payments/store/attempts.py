"""Attempts by themselves: which are due, whose they are, how a reference or an id leads to one."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from contracts.event import Provider
from services.chassis.db import Tx
from services.payments.providers import Asked

# The claim is a lease: until it ends nobody else asks, and a worker that dies loses only that time.
CLAIM_DUE = """
    with due as (
        select id from attempts
        where next_check_at <= now() and provider = $1
        order by next_check_at
        limit $2
        for update skip locked
    )
    update attempts a
    set next_check_at = now() + $3::float8 * interval '1 second', checks = a.checks + 1
    from due
    where a.id = due.id
    returning a.id, a.subject_id, a.provider, a.reference, a.merchant_code, a.amount_paisa, a.answered_at
"""

FIND_BY_REFERENCE = """
    select id, subject_id, provider, reference, merchant_code, amount_paisa, answered_at
    from attempts
    where provider = $1 and reference = $2
"""

FIND_BY_ID = """
    select id, subject_id, provider, reference, merchant_code, amount_paisa, answered_at
    from attempts
    where id = $1
"""

READ_UNSETTLED = """
    select a.id, a.subject_id, a.provider, a.reference, a.merchant_code, a.amount_paisa, a.answered_at
    from attempts a
    join intents i using (subject_id)
    where a.subject_id = $1 and i.status = 'AWAITING_PAYMENT'
      and a.status not in ('CONFIRMED', 'REVERSED', 'CLOSED')
      and (a.answered_at is null or a.answered_at < now() - $2::float8 * interval '1 second')
    order by a.id
"""

WAKE_FORGOTTEN = """
    with forgotten as (
        select id from attempts
        where next_check_at is null and status in ('OPEN', 'IN_FLIGHT', 'ON_HOLD', 'DECLINED', 'LAPSED')
        order by id
        limit $1
        for update skip locked
    )
    update attempts a set next_check_at = now() from forgotten where a.id = forgotten.id
    returning a.id
"""


@dataclass(frozen=True, slots=True)
class Question:
    """One attempt to be asked about, with its stored facts."""

    attempt_id: UUID
    subject_id: UUID
    provider: Provider
    asked: Asked
    answered_at: datetime | None


def _question(row: Record) -> Question:
    asked = Asked(row["reference"], row["merchant_code"], row["amount_paisa"])
    return Question(row["id"], row["subject_id"], row["provider"], asked, row["answered_at"])


async def claim_due(tx: Tx, provider: Provider, *, limit: int, lease_s: float) -> list[Question]:
    """Due attempts that nobody else is asking about."""
    return [_question(row) for row in await tx.fetch(CLAIM_DUE, provider, limit, lease_s)]


async def find_by_reference(tx: Tx, provider: str, reference: str) -> Question | None:
    """The attempt that a way back names, if there is one."""
    row = await tx.fetchrow(FIND_BY_REFERENCE, provider, reference)
    return None if row is None else _question(row)


async def find_by_id(tx: Tx, attempt_id: UUID) -> Question | None:
    row = await tx.fetchrow(FIND_BY_ID, attempt_id)
    return None if row is None else _question(row)


async def read_unsettled(tx: Tx, subject_id: UUID, *, not_since_s: float) -> list[Question]:
    """The attempts of an open intent that may hold money by now and were not asked about just before."""
    return [_question(row) for row in await tx.fetch(READ_UNSETTLED, subject_id, not_since_s)]


async def wake_forgotten(tx: Tx, limit: int) -> Collection[UUID]:
    """Make attempts due that could bring money and that nobody would ever ask about again."""
    return [row["id"] for row in await tx.fetch(WAKE_FORGOTTEN, limit)]
