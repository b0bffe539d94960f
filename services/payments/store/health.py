"""How the work of payments stands: intents by status, how long an order takes, what waits for too long."""

from datetime import datetime
from typing import Final
from uuid import UUID

from services.chassis.db import Tx
from services.payments.store.waiting import READ_CLOSABLE

NEWEST_INTENTS: Final = """
    select status, count(*)::int as n
    from (select status from intents where subject_id >= $1 order by subject_id desc limit $2) as newest
    group by status
"""

OPEN_WINDOWS: Final = """
    select count(*)::int from (select from intents where status = 'AWAITING_PAYMENT' limit $1) as waiting
"""

# Both times are of this database: from the proof of the payment until the order that came of it was heard of.
PAYMENT_TO_ORDER: Final = """
    select count(took_s)::int as orders, count(*)::int as verified,
           (count(took_s) / nullif(count(*), 0)::float8)::float8 as share, avg(took_s)::float8 as average_s,
           percentile_cont(0.95) within group (order by took_s)::float8 as p95_s
    from (
        select case when answer = 'finalized'
                    then extract(epoch from answered_at - verified_at)::float8 end as took_s
        from (select answer, verified_at, answered_at from intents
              where subject_id >= $1 order by subject_id desc limit $2) as newest
        where verified_at is not null and (answered_at is not null or verified_at <= $3)
    ) as proven
"""

UNANSWERED: Final = """
    select count(*)::int
    from (select from intents
          where status = 'SUCCEEDED' and answer is null and verified_at <= $1 limit $2) as waiting
"""

OLDEST_UNANSWERED: Final = """
    select coalesce(extract(epoch from now() - min(verified_at)), 0)::float8
    from intents
    where status = 'SUCCEEDED' and answer is null
"""

OVERDUE_WINDOWS: Final = f"select count(*)::int from ({READ_CLOSABLE}) as closable"  # noqa: S608 - our own

OVERDUE_ATTEMPTS: Final = """
    select count(*)::int as n, min(next_check_at) as oldest
    from (select next_check_at from attempts
          where next_check_at <= $1 order by next_check_at limit $2) as waiting
"""

WAITING_REFUNDS: Final = """
    select count(*)::int as n, min(requested_at) as oldest
    from (select requested_at from refunds where status = 'MANUAL_PENDING' limit $2) as waiting
    where requested_at <= $1
"""

OPEN_CASES: Final = """
    select count(*)::int as n, min(opened_at) as oldest
    from (select opened_at from review_cases where open limit $2) as waiting
    where opened_at <= $1
"""


async def newest_intents(tx: Tx, since: UUID, most: int) -> dict[str, int]:
    """The statuses of intents whose subject was born since this id."""
    return {row["status"]: row["n"] for row in await tx.fetch(NEWEST_INTENTS, since, most)}


async def open_windows(tx: Tx, most: int) -> int:
    """Intents that can still be paid."""
    found: int = await tx.fetchval(OPEN_WINDOWS, most)
    return found


async def payment_to_order(
    tx: Tx, since: UUID, most: int, *, late_since: datetime
) -> dict[str, float | None]:
    """How many proven payments became orders, and how long that took in seconds: average, and for 95 %.

    Those that have no answer yet count from `late_since` on backwards: a younger one is on its way.
    """
    row = await tx.fetchrow(PAYMENT_TO_ORDER, since, most, late_since)
    assert row is not None, "an aggregate always has one row"
    return dict(row)


async def unanswered(tx: Tx, before: datetime, most: int) -> int:
    """Payments proven before this time that nobody has answered."""
    found: int = await tx.fetchval(UNANSWERED, before, most)
    return found


async def oldest_unanswered(tx: Tx) -> float:
    """How many seconds ago the first payment that nobody has answered was proven; 0 without one."""
    seconds: float = await tx.fetchval(OLDEST_UNANSWERED)
    return seconds


async def overdue_windows(tx: Tx, before: datetime, patience_s: float, most: int) -> int:
    """Windows that could have been closed before this time, or made a case of."""
    found: int = await tx.fetchval(OVERDUE_WINDOWS, before, patience_s, most)
    return found


async def overdue_attempts(tx: Tx, before: datetime, most: int) -> tuple[int, datetime | None]:
    """Attempts that were due before this time and were not asked about; since when the oldest is."""
    return _waiting(await tx.fetchrow(OVERDUE_ATTEMPTS, before, most))


async def waiting_refunds(tx: Tx, before: datetime, most: int) -> tuple[int, datetime | None]:
    """Refunds asked for before this time that nobody has made, and since when the oldest waits."""
    return _waiting(await tx.fetchrow(WAITING_REFUNDS, before, most))


async def open_cases(tx: Tx, before: datetime, most: int) -> tuple[int, datetime | None]:
    """Cases opened before this time that nobody has closed, and since when the oldest is open."""
    return _waiting(await tx.fetchrow(OPEN_CASES, before, most))


def _waiting(row: object) -> tuple[int, datetime | None]:
    return row["n"], row["oldest"]  # type: ignore[index]
