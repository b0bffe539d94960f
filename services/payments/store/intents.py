"""Reading intents: whole, and locked in key order."""

from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias
from uuid import UUID

from asyncpg import Record

from services.chassis.db import Tx
from services.chassis.decisions import restored
from services.payments.domain import Attempt, Case, Charge, Intent, Item, Refund
from services.payments.domain.intent import AttemptStatus, ChargeKind, IntentStatus, RefundStatus

BySubject: TypeAlias = dict[UUID, list[Record]]

LOCK_INTENTS = """
    select subject_id, subject_kind, status, customer_id, amount_paisa, pay_by, close_at, verified_at, answer,
           traceparent, has_details, seq, now() as now
    from intents
    where subject_id = any($1::uuid[])
    order by subject_id
    for no key update
"""

READ_INTENTS = """
    select subject_id, subject_kind, status, customer_id, amount_paisa, pay_by, close_at, verified_at, answer,
           traceparent, has_details, seq, now() as now
    from intents
    where subject_id = any($1::uuid[])
"""

# A statement of its own: what one that waits for a lock reads beside it may be older than the locked row.
READ_ATTEMPTS = """
    select a.subject_id, c.id as charge_id, c.provider_txn_id, c.amount_paisa as charged_paisa, l.kind,
           a.id, a.provider, a.reference, a.merchant_code, a.amount_paisa, a.opened_at, a.expires_at,
           a.closes_at, a.next_check_at, a.status, a.answered_at, a.nudged_at, a.unknowns
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
    return await _whole(tx, await _lock(tx, subject_ids))


async def lock_intents_without_money(tx: Tx, subject_ids: Collection[UUID]) -> dict[UUID, Intent]:
    """The same without attempts and charges, for decisions that look at neither: half of the reading."""
    rows = await _lock(tx, subject_ids)
    return await _with_details(tx, rows, {})


async def read_intents(tx: Tx, subject_ids: Collection[UUID]) -> dict[UUID, Intent]:
    """Intents, whole, as they stand; for showing, not for deciding."""
    return await _whole(tx, await tx.fetch(READ_INTENTS, list(set(subject_ids))))


async def _lock(tx: Tx, subject_ids: Collection[UUID]) -> list[Record]:
    rows = await tx.fetch(LOCK_INTENTS, list(set(subject_ids)))
    if rows:
        tx.starts_at(rows[0]["now"])  # the transaction's time, without a round trip of its own
    return rows


async def _whole(tx: Tx, rows: Sequence[Record]) -> dict[UUID, Intent]:
    if not rows:
        return {}
    tried = _by_subject(await tx.fetch(READ_ATTEMPTS, [row["subject_id"] for row in rows]))
    return await _with_details(tx, rows, tried)


async def _with_details(tx: Tx, rows: Sequence[Record], tried: BySubject) -> dict[UUID, Intent]:
    detailed = [row["subject_id"] for row in rows if row["has_details"]]
    if not detailed:
        return {row["subject_id"]: _intent(row, tried) for row in rows}
    refunds = _by_subject(await tx.fetch(READ_REFUNDS, detailed))
    cases = _by_subject(await tx.fetch(READ_CASES, detailed))
    items = _by_subject(await tx.fetch(READ_ITEMS, detailed))
    return {row["subject_id"]: _intent(row, tried, refunds, cases, items) for row in rows}


def _by_subject(rows: Iterable[Record]) -> BySubject:
    grouped: BySubject = {}
    for row in rows:
        grouped.setdefault(row["subject_id"], []).append(row)
    return grouped


NOTHING: BySubject = {}


# Rows are taken apart in the order of their statement's columns, and every status is named as it is
# written: asking a record for each column, and an enum for each value, took as long as all else here.
def _intent(
    row: Record,
    tried: BySubject,
    refunds: BySubject = NOTHING,
    cases: BySubject = NOTHING,
    items: BySubject = NOTHING,
) -> Intent:
    of, kind, status, customer_id, amount, pay_by, close_at, verified_at, answer, trace, _, seq, _ = row
    attempts = tried.get(of, ())
    charges = [_charge(one) for one in attempts if one["charge_id"] is not None]
    return restored(
        Intent,
        subject_id=of,
        status=IntentStatus[status],
        subject_kind=kind,
        customer_id=customer_id,
        amount_paisa=amount,
        pay_by=pay_by,
        close_at=close_at,
        verified_at=verified_at,
        answer=answer,
        traceparent=trace,
        seq=seq,
        attempts=tuple([_attempt(one) for one in attempts]),
        charges=tuple(sorted(charges, key=lambda charge: charge.id)),  # as they were proven
        refunds=tuple([_refund(one) for one in refunds.get(of, ())]),
        cases=tuple([_case(one) for one in cases.get(of, ())]),
        items=tuple([_item(one) for one in items.get(of, ())]),
    )


def _attempt(row: Record) -> Attempt:
    _, _, _, _, _, attempt_id, provider, reference, merchant_code, amount, *times = row
    opened_at, expires_at, closes_at, next_check_at, status, answered_at, nudged_at, unknowns = times
    return restored(
        Attempt,
        id=attempt_id,
        provider=provider,
        reference=reference,
        merchant_code=merchant_code,
        amount_paisa=amount,
        opened_at=opened_at,
        expires_at=expires_at,
        closes_at=closes_at,
        next_check_at=next_check_at,
        status=AttemptStatus[status],
        answered_at=answered_at,
        nudged_at=nudged_at,
        unknowns=unknowns,
    )


def _charge(row: Record) -> Charge:
    _, charge_id, txn_id, amount, kind, attempt_id, provider, *_ = row
    return Charge(charge_id, attempt_id, provider, txn_id, amount, ChargeKind[kind])


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
