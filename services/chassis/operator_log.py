"""The operators' log: who did what to which thing and why, written in the transaction that does it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from services.chassis.db import Tx
from services.chassis.ids import new_id

RECORD: Final = """
    insert into operator_actions (id, actor, action, subject, reason, detail)
    values ($1, $2, $3, $4, $5, $6)
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
    made = new_id()
    await tx.execute(
        RECORD, made, action.actor, action.action, action.subject, action.reason, dict(action.detail)
    )
    return made
