"""The verification trail: what gateways and browsers said, and whose a gateway's transaction already is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from services.chassis.db import Tx

INSERT_OBSERVATIONS = """
    insert into gateway_observations (attempt_id, id, kind, http_status, body, body_sha256, verdict, detail)
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::bytea[],
                         $7::text[], $8::text[])
"""

READ_OWNERS = """
    select c.provider, c.provider_txn_id, c.attempt_id
    from charges c
    join unnest($1::text[], $2::text[]) as w (provider, txn_id)
        on c.provider = w.provider and c.provider_txn_id = w.txn_id
"""

Transaction: TypeAlias = tuple[str, str]
"""A provider and its own id of a payment."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One answer as it is kept: redacted, hashed, with what we made of it."""

    id: UUID
    attempt_id: UUID
    kind: Literal["return", "lookup"]
    http_status: int | None
    body: str
    body_sha256: bytes
    verdict: str
    detail: str | None


async def insert_observations(tx: Tx, seen: Sequence[Evidence]) -> None:
    """Written before any state changes, in the transaction that changes it."""
    if not seen:
        return
    rows = [
        (e.attempt_id, e.id, e.kind, e.http_status, e.body, e.body_sha256, e.verdict, e.detail) for e in seen
    ]
    await tx.execute(INSERT_OBSERVATIONS, *zip(*rows, strict=True))


async def read_owners(tx: Tx, transactions: Sequence[Transaction]) -> dict[Transaction, UUID]:
    """The attempts that these payments of a gateway have already been counted for."""
    if not transactions:
        return {}
    rows = await tx.fetch(READ_OWNERS, *zip(*transactions, strict=True))
    return {(row["provider"], row["provider_txn_id"]): row["attempt_id"] for row in rows}
