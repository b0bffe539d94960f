"""Reading intents: whole, and locked in key order."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias
from uuid import UUID

from asyncpg import Record

from services.chassis.db import Tx
from services.payments.domain import Attempt, Case, Charge, Intent, Item, Refund
from services.payments.domain.intent import AttemptStatus, ChargeKind, IntentStatus, RefundStatus

BySubject: TypeAlias = defaultdict[UUID, list[Record]]

LOCK_INTENTS = """
    select subject_id, subject_kind, status, customer_id, amount_paisa, pay_by, close_at, verified_at, answer,
           traceparent, has_details, seq, now() as now
    from intents
    where subject_id = any($1::uuid[])
    order by subject_id
    for no key update
"""

READ_INTENT = """
    select subject_id, subject_kind, status, customer_id, amount_paisa, pay_by, close_at, verified_at, answer,
           traceparent, has_details, seq
    from intents
    where subject_id = $1
"""

# A statement of its own: what one that waits for a lock reads beside it may be older than the locked row.
READ_ATTEMPTS = """
    select a.id, a.subject_id, a.provider, a.reference, a.merchant_code, a.amount_paisa, a.opened_at,
           a.expires_at, a.closes_at, a.next_check_at, a.status, a.answered_at, a.nudged_at, a.unknowns,
           c.id as charge_id, c.provider_txn_id, c.amount_paisa as charged_paisa, l.kind
    from attempts a
    left join charges c on c.attempt_id = a.id
    left join allocations l on l.charge_id = c.id
    where a.subject_id = any($1::uuid[])
    order by a.id
"""

READ_REFUNDS = """
    select id, subject_id, charge_id, cause, amount_paisa, status, evidence_ref, note, completed_by
    from refunds
    where subject_id = any($1::uuid[])
    order by id
"""

READ_CASES = """
    select id, subject_id, reason, attempt_id, open, resolution
    from review_cases
    where subject_id = any($1::uuid[])
    order by id
"""

READ_ITEMS = """
    select id, subject_id, vendor_id, net_paisa, delivery_paisa, status
    from payment_items
    where subject_id = any($1::uuid[])
    order by id
"""


async def lock_intents(tx: Tx, subject_ids: Collection[UUID]) -> dict[UUID, Intent]:
    """The intents of these subjects, whole, locked in key order until the transaction ends."""
    rows = await tx.fetch(LOCK_INTENTS, list(set(subject_ids)))
    if rows:
        tx.starts_at(rows[0]["now"])  # the transaction's time, without a round trip of its own
    return await _whole(tx, rows)


async def read_intent(tx: Tx, subject_id: UUID) -> Intent | None:
    """One intent, whole, as it stands; for showing, not for deciding."""
    return (await _whole(tx, await tx.fetch(READ_INTENT, subject_id))).get(subject_id)


async def _whole(tx: Tx, rows: Sequence[Record]) -> dict[UUID, Intent]:
    if not rows:
        return {}
    tried = _by_subject(await tx.fetch(READ_ATTEMPTS, [row["subject_id"] for row in rows]))
    detailed = [row["subject_id"] for row in rows if row["has_details"]]
    if not detailed:
        return {row["subject_id"]: _intent(row, tried) for row in rows}
    refunds = _by_subject(await tx.fetch(READ_REFUNDS, detailed))
    cases = _by_subject(await tx.fetch(READ_CASES, detailed))
    items = _by_subject(await tx.fetch(READ_ITEMS, detailed))
    return {row["subject_id"]: _intent(row, tried, refunds, cases, items) for row in rows}


def _by_subject(rows: Iterable[Record]) -> BySubject:
    grouped: BySubject = defaultdict(list)
    for row in rows:
        grouped[row["subject_id"]].append(row)
    return grouped


NOTHING: BySubject = defaultdict(list)


def _intent(
    row: Record,
    tried: BySubject,
    refunds: BySubject = NOTHING,
    cases: BySubject = NOTHING,
    items: BySubject = NOTHING,
) -> Intent:
    of = row["subject_id"]
    charges = [_charge(one) for one in tried.get(of, ()) if one["charge_id"] is not None]
    return Intent(
        of,
        IntentStatus(row["status"]),
        subject_kind=row["subject_kind"],
        customer_id=row["customer_id"],
        amount_paisa=row["amount_paisa"],
        pay_by=row["pay_by"],
        close_at=row["close_at"],
        verified_at=row["verified_at"],
        answer=row["answer"],
        traceparent=row["traceparent"],
        seq=row["seq"],
        attempts=tuple(_attempt(one) for one in tried.get(of, ())),
        charges=tuple(sorted(charges, key=lambda charge: charge.id)),  # as they were proven
        refunds=tuple(_refund(one) for one in refunds.get(of, ())),
        cases=tuple(_case(one) for one in cases.get(of, ())),
        items=tuple(_item(one) for one in items.get(of, ())),
    )


def _attempt(row: Record) -> Attempt:
    return Attempt(
        row["id"],
        row["provider"],
        row["reference"],
        row["merchant_code"],
        row["amount_paisa"],
        opened_at=row["opened_at"],
        expires_at=row["expires_at"],
        closes_at=row["closes_at"],
        next_check_at=row["next_check_at"],
        status=AttemptStatus(row["status"]),
        answered_at=row["answered_at"],
        nudged_at=row["nudged_at"],
        unknowns=row["unknowns"],
    )


def _charge(row: Record) -> Charge:
    kind = ChargeKind(row["kind"])
    txn_id, amount = row["provider_txn_id"], row["charged_paisa"]
    return Charge(row["charge_id"], row["id"], row["provider"], txn_id, amount, kind)


def _refund(row: Record) -> Refund:
    return Refund(
        row["id"],
        row["charge_id"],
        row["cause"],
        row["amount_paisa"],
        RefundStatus(row["status"]),
        evidence_ref=row["evidence_ref"],
        note=row["note"],
        completed_by=row["completed_by"],
    )


def _case(row: Record) -> Case:
    return Case(row["id"], row["reason"], row["attempt_id"], open=row["open"], resolution=row["resolution"])


def _item(row: Record) -> Item:
    return Item(row["id"], row["vendor_id"], row["net_paisa"], row["delivery_paisa"], row["status"])
