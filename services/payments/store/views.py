"""What people are shown: an intent as it stands, refunds and review cases page by page."""

from uuid import UUID

from asyncpg import Record

from contracts.http.payments import Refund, ReviewCase
from services.chassis.db import Tx

READ_OWNER = "select customer_id from intents where subject_id = $1 and amount_paisa is not null"

READ_REFUND_PAGE = """
    select r.id, r.subject_id, r.charge_id, r.cause, r.amount_paisa, r.status as state, r.evidence_ref,
           r.note, r.requested_at, r.completed_at, c.provider, c.provider_txn_id
    from refunds r
    join charges c on c.id = r.charge_id
    where ($1::text is null or r.status = $1) and ($2::uuid is null or r.id < $2)
    order by r.id desc
    limit $3
"""

READ_REFUND = """
    select r.id, r.subject_id, r.charge_id, r.cause, r.amount_paisa, r.status as state, r.evidence_ref,
           r.note, r.requested_at, r.completed_at, c.provider, c.provider_txn_id
    from refunds r
    join charges c on c.id = r.charge_id
    where r.id = $1
"""

READ_CASE_PAGE = """
    select id, subject_id, reason, open, attempt_id, resolution, opened_at, closed_at
    from review_cases
    where ($1::boolean is null or open = $1) and ($2::uuid is null or id < $2)
    order by id desc
    limit $3
"""

READ_CASE = """
    select k.id, k.subject_id, k.reason, k.open, k.attempt_id, k.resolution, k.opened_at, k.closed_at,
           c.id as charge_id
    from review_cases k
    left join charges c on c.attempt_id = k.attempt_id
    where k.id = $1
"""


async def read_owner(tx: Tx, subject_id: UUID) -> UUID | None:
    """Whose intent this is; None when there is nothing to pay."""
    owner: UUID | None = await tx.fetchval(READ_OWNER, subject_id)
    return owner


async def refund_page(tx: Tx, state: str | None, before: UUID | None, limit: int) -> list[Refund]:
    return [_refund(row) for row in await tx.fetch(READ_REFUND_PAGE, state, before, limit)]


async def refund(tx: Tx, refund_id: UUID) -> Refund | None:
    row = await tx.fetchrow(READ_REFUND, refund_id)
    return None if row is None else _refund(row)


async def case_page(tx: Tx, state: bool | None, before: UUID | None, limit: int) -> list[ReviewCase]:  # noqa: FBT001
    return [_case(row) for row in await tx.fetch(READ_CASE_PAGE, state, before, limit)]


async def case(tx: Tx, case_id: UUID) -> tuple[ReviewCase, UUID | None] | None:
    """The case, and the charge it is about, if one is known."""
    row = await tx.fetchrow(READ_CASE, case_id)
    return None if row is None else (_case(row), row["charge_id"])


def _refund(row: Record) -> Refund:
    return Refund.model_validate(dict(row))


def _case(row: Record) -> ReviewCase:
    return ReviewCase.model_validate(dict(row))
