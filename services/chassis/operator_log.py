"""The operators' log: who did what to which thing and why, written in the transaction that does it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.chassis.db import Tx
from services.chassis.ids import new_id

RECORD: Final = """
    insert into operator_actions (id, actor, action, subject, reason, detail)
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[])
"""
ABOUT: Final = """
    select id, at, actor, action, reason, detail from operator_actions
    where subject = $1 order by at desc, id desc limit $2
"""
ONE: Final = """
    select id, at, actor, action, subject, reason, detail from operator_actions where id = $1
"""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing an operator did; `actor` is the token's subject, `action` is `<subject kind>.<verb>`."""

    actor: UUID
    action: str
    subject: str
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What it came to; never a person's data."""


async def record(tx: Tx, action: Action) -> UUID:
    """Write it down; the table takes no action without a reason, and gives none back. Returns its id."""
    (made,) = await record_all(tx, [action])
    return made


async def record_all(tx: Tx, actions: Sequence[Action]) -> list[UUID]:
    """The same for each thing that one request was about, so that each has its story; there may be none."""
    if not actions:
        return []
    made = [new_id() for _ in actions]
    rows = [(one.actor, one.action, one.subject, one.reason, dict(one.detail)) for one in actions]
    await tx.execute(RECORD, made, *zip(*rows, strict=True))
    return made


async def about(tx: Tx, subject: str, limit: int) -> list[asyncpg.Record]:
    """What operators did to it, the latest first."""
    return await tx.fetch(ABOUT, subject, limit)


async def find(tx: Tx, action: UUID) -> asyncpg.Record | None:
    """One action by its id."""
    return await tx.fetchrow(ONE, action)
