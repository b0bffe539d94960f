"""The verification trail: what gateways and browsers said, and whose a gateway's transaction already is."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from services.chassis.db import Tx

# One round trip: both are needed before anything may be concluded, and neither waits for the other.
KEEP_OBSERVATIONS = """
    with kept as (
        insert into gateway_observations
            (attempt_id, id, kind, http_status, body, body_sha256, verdict, detail)
        select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::bytea[],
                             $7::text[], $8::text[])
    )
    select c.provider, c.provider_txn_id, c.attempt_id
    from unnest($9::text[], $10::text[]) as w (provider, txn_id)
    join charges c on c.provider = w.provider and c.provider_txn_id = w.txn_id
"""

Transaction: TypeAlias = tuple[str, str]
"""A provider and its own id of a payment."""


class Evidence(NamedTuple):
    """One answer as it is kept, column by column: redacted, hashed, with what we made of it."""

    attempt_id: UUID
    id: UUID
    kind: Literal["return", "lookup"]
    http_status: int | None
    body: str
    body_sha256: bytes
    verdict: str
    detail: str | None


async def keep(
    tx: Tx, seen: Sequence[Evidence], transactions: Sequence[Transaction] = ()
) -> dict[Transaction, UUID]:
    """Write these before any state changes, in the transaction that changes it.

    Returns the attempts that these payments of a gateway have already been counted for.
    """
    if not seen:
        return {}
    named = [provider for provider, _ in transactions], [txn_id for _, txn_id in transactions]
    owners = await tx.fetch(KEEP_OBSERVATIONS, *zip(*seen, strict=True), *named)
    return {(row["provider"], row["provider_txn_id"]): row["attempt_id"] for row in owners}
