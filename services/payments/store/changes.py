"""Writing intents: whatever a decision has changed of them, each table at once."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from services.chassis.db import Tx
from services.payments.domain import Attempt, Case, Charge, Intent, Item, Refund

Row = TypeVar("Row", Attempt, Charge, Refund, Case, Item)
Intents: TypeAlias = Mapping[UUID, Intent]
Moved: TypeAlias = tuple[Intent | None, Intent]
"""An intent as it was locked, if it was there, and as it is to be."""

INSERT_INTENTS = """
    insert into intents (subject_id, subject_kind, status, customer_id, amount_paisa, pay_by, close_at,
                         answer, traceparent, seq)
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::timestamptz[],
                         $7::timestamptz[], $8::text[], $9::text[], $10::bigint[])
"""

UPDATE_INTENTS = """
    update intents i
    set status = n.status, verified_at = n.verified_at,
        verified_xid = case when i.verified_at is null and n.verified_at is not null
                            then pg_current_xact_id() else i.verified_xid end,
        answer = n.answer,
        answered_at = case when n.answer is not null then coalesce(i.answered_at, now()) end,
        has_details = n.has_details,
        seq = n.seq, version = i.version + 1
    from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::boolean[], $6::bigint[])
        as n (subject_id, status, verified_at, answer, has_details, seq)
    where i.subject_id = n.subject_id
"""

INSERT_ATTEMPTS = """
    insert into attempts (id, subject_id, provider, reference, merchant_code, amount_paisa, status, opened_at,
                          expires_at, closes_at, next_check_at)
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
                         $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[])
"""

UPDATE_ATTEMPTS = """
    update attempts a
    set status = n.status, next_check_at = n.next_check_at, answered_at = n.answered_at,
        nudged_at = n.nudged_at, unknowns = n.unknowns
    from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::int[])
        as n (id, status, next_check_at, answered_at, nudged_at, unknowns)
    where a.id = n.id
"""

# One statement: a charge without its allocation cannot exist, not even for one round trip.
INSERT_CHARGES = """
    with new as (
        select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[],
                             $7::text[])
            as n (id, subject_id, attempt_id, provider, txn_id, amount_paisa, kind)
    ), charged as (
        insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
        select id, attempt_id, provider, txn_id, amount_paisa from new
    )
    insert into allocations (charge_id, subject_id, kind)
    select id, subject_id, kind from new
"""

SAVE_REFUNDS = """
    insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status, evidence_ref, note,
                         completed_by, completed_at)
    select n.*, case when n.status = 'SUCCEEDED' then now() end
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                $8::text[], $9::uuid[])
        as n (id, subject_id, charge_id, cause, amount_paisa, status, evidence_ref, note, completed_by)
    on conflict (id) do update
    set status = excluded.status, evidence_ref = excluded.evidence_ref, note = excluded.note,
        completed_by = excluded.completed_by, completed_at = excluded.completed_at
"""

SAVE_CASES = """
    insert into review_cases (id, subject_id, reason, attempt_id, open, resolution, closed_at)
    select n.*, case when not n.open then now() end
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::boolean[], $6::text[])
        as n (id, subject_id, reason, attempt_id, open, resolution)
    on conflict (id) do update
    set open = excluded.open, resolution = excluded.resolution, closed_at = excluded.closed_at
"""

# Not `on conflict`, which writes every row's place twice: the locked intent says which items are there.
INSERT_ITEMS = """
    insert into payment_items (id, subject_id, vendor_id, net_paisa, delivery_paisa, status)
    select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[])
"""

UPDATE_ITEMS = """
    update payment_items i
    set status = n.status, delivery_paisa = n.delivery_paisa
    from unnest($1::uuid[], $2::bigint[], $3::text[]) as n (id, delivery_paisa, status)
    where i.id = n.id
"""


async def save_intents(tx: Tx, before: Intents, after: Intents) -> None:
    """Write what differs, parents before children; `before` are the locked intents it all began with."""
    moved = [(before.get(key), one) for key, one in after.items()]
    await _insert_intents(tx, [_new_intent(one) for was, one in moved if was is None])
    await _save(tx, UPDATE_INTENTS, [_changed_intent(one) for was, one in moved if was is not None])
    attempts = _differing(moved, attrgetter("attempts"))
    await _save(tx, INSERT_ATTEMPTS, [_new_attempt(of, one) for of, was, one in attempts if was is None])
    await _save(tx, UPDATE_ATTEMPTS, [_changed_attempt(one) for _, was, one in attempts if was is not None])
    charges = _differing(moved, attrgetter("charges"))
    await _save(tx, INSERT_CHARGES, [_charge(of, one) for of, _, one in charges])
    await _save_details(tx, moved)


async def _insert_intents(tx: Tx, rows: Sequence[tuple[object, ...]]) -> None:
    """A row that is not there cannot be locked: who meets another's first insert decides again, seeing it."""
    try:
        await _save(tx, INSERT_INTENTS, rows)
    except asyncpg.UniqueViolationError as error:
        msg = "an intent of this batch was just made by another transaction"
        raise asyncpg.SerializationError(msg) from error


async def _save_details(tx: Tx, moved: Sequence[Moved]) -> None:
    refunds = _differing(moved, attrgetter("refunds"))
    cases = _differing(moved, attrgetter("cases"))
    items = _differing(moved, attrgetter("items"))
    await _save(tx, SAVE_REFUNDS, [_refund(of, one) for of, _, one in refunds])
    await _save(tx, SAVE_CASES, [_case(of, one) for of, _, one in cases])
    await _save(tx, INSERT_ITEMS, [_new_item(of, one) for of, was, one in items if was is None])
    await _save(tx, UPDATE_ITEMS, [_changed_item(one) for _, was, one in items if was is not None])


async def _save(tx: Tx, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        await tx.execute(statement, *zip(*rows, strict=True))


def _differing(
    moved: Sequence[Moved], rows_of: Callable[[Intent], tuple[Row, ...]]
) -> list[tuple[UUID, Row | None, Row]]:
    """Each row that is new or changed, with its intent and its former self."""
    changed = []
    for was, one in moved:
        rows, former = rows_of(one), () if was is None else rows_of(was)
        if rows is former:  # nobody touched them: nothing to compare
            continue
        known = {row.id: row for row in former}
        changed += [(one.subject_id, known.get(row.id), row) for row in rows if known.get(row.id) != row]
    return changed


def _new_intent(one: Intent) -> tuple[object, ...]:
    due = (one.customer_id, one.amount_paisa, one.pay_by, one.close_at)
    return one.subject_id, one.subject_kind, one.status, *due, one.answer, one.traceparent, one.seq


def _changed_intent(one: Intent) -> tuple[object, ...]:
    return one.subject_id, one.status, one.verified_at, one.answer, one.has_details, one.seq


def _new_attempt(of: UUID, one: Attempt) -> tuple[object, ...]:
    frozen = (one.provider, one.reference, one.merchant_code, one.amount_paisa)
    times = (one.opened_at, one.expires_at, one.closes_at, one.next_check_at)
    return one.id, of, *frozen, one.status, *times


def _changed_attempt(one: Attempt) -> tuple[object, ...]:
    return one.id, one.status, one.next_check_at, one.answered_at, one.nudged_at, one.unknowns


def _charge(of: UUID, one: Charge) -> tuple[object, ...]:
    return one.id, of, one.attempt_id, one.provider, one.txn_id, one.amount_paisa, one.kind


def _refund(of: UUID, one: Refund) -> tuple[object, ...]:
    proof = (one.evidence_ref, one.note, one.completed_by)
    return one.id, of, one.charge_id, one.cause, one.amount_paisa, one.status, *proof


def _case(of: UUID, one: Case) -> tuple[object, ...]:
    return one.id, of, one.reason, one.attempt_id, one.open, one.resolution


def _new_item(of: UUID, one: Item) -> tuple[object, ...]:
    return one.id, of, one.vendor_id, one.net_paisa, one.delivery_paisa, one.status


def _changed_item(one: Item) -> tuple[object, ...]:
    return one.id, one.delivery_paisa, one.status
