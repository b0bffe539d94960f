"""What one service waits for from another in vain: paid and no order, held and never sold or let go."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

MOST: Final = 500
"""Of each kind, oldest first: a report that names millions helps nobody."""
ENDED: Final = frozenset({"expired", "payment_failed", "cancelled", "refund_pending", "refunded"})
OPEN: Final = frozenset({"reserving", "awaiting_phone", "awaiting_payment", "verifying", "on_hold"})

UNANSWERED: Final = """
    select subject_id as order_id, verified_at as since from intents
    where status = 'SUCCEEDED' and answer is null and verified_at < now() - make_interval(secs => $1)
    order by verified_at limit $2
"""
HELD: Final = """
    select order_id, opened_at as since from holds
    where status = 'held' and opened_at < now() - make_interval(secs => $1)
    order by opened_at limit $2
"""
STAGES: Final = """
    select order_id, stage, hold, updated_at < now() - make_interval(secs => $2) as is_settled
    from checkouts where order_id = any($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Orphan:
    """One thing that waits, since when, how its checkout stands, and who can tell again what was missed."""

    kind: str
    order_id: UUID
    since: datetime
    stage: str | None
    repair: str | None


async def find(databases: Mapping[str, str], older_than_s: float) -> list[Orphan]:
    """Those that wait for longer than that, at most `MOST` of a kind; reads, changes nothing."""
    paid = await _rows(databases["payments"], UNANSWERED, older_than_s, MOST)
    held = await _rows(databases["inventory"], HELD, older_than_s, MOST)
    ids = [row["order_id"] for row in (*paid, *held)]
    stages = {row["order_id"]: row for row in await _rows(databases["orders"], STAGES, ids, older_than_s)}
    return [
        *(_paid(row, stages.get(row["order_id"])) for row in paid),
        *(one for row in held if (one := _held(row, stages.get(row["order_id"]))) is not None),
    ]


async def _rows(dsn: str, query: str, *arguments: object) -> Sequence[Any]:
    settings = {"default_transaction_read_only": "on", "statement_timeout": "20000"}
    connection = await asyncpg.connect(dsn, timeout=5, server_settings=settings)
    try:
        found: Sequence[Any] = await connection.fetch(query, *arguments)
    finally:
        await connection.close()
    return found


def _paid(row: Any, checkout: Any) -> Orphan:  # noqa: ANN401 - database rows
    """Whoever has decided tells again: orders how it ended, payments that it is paid."""
    stage = None if checkout is None else checkout["stage"]
    if stage is None or stage == "rejected":
        repair = None
    elif stage == "confirmed" or stage in ("cancelled", "refund_pending", "refunded"):
        repair = "orders"
    else:
        repair = "payments"
    return Orphan("paid without an order", row["order_id"], row["since"], stage, repair)


def _held(row: Any, checkout: Any) -> Orphan | None:  # noqa: ANN401 - database rows
    """A hold of a checkout that is under way is none."""
    stage = None if checkout is None else checkout["stage"]
    if stage in OPEN or stage == "processing" or (checkout is not None and not checkout["is_settled"]):
        return None
    repair = "orders" if stage == "confirmed" or stage in ENDED else None
    return Orphan("held and never consumed", row["order_id"], row["since"], stage, repair)


def repairs(found: Sequence[Orphan]) -> Iterator[tuple[str, str, list[str]]]:
    """The requests that repair these: service, path, ids."""
    paths = {"orders": "/orders/tell-again", "payments": "/intents/tell-again"}
    of_service: dict[str, dict[str, None]] = defaultdict(dict)
    for one in found:
        if one.repair is not None:
            of_service[one.repair][str(one.order_id)] = None
    for service, ids in of_service.items():
        every = list(ids)
        for first in range(0, len(every), MOST):
            yield service, paths[service], every[first : first + MOST]
