"""What the tables themselves refuse, whoever asks; and that every statement fits them."""

import importlib
import pkgutil
import re
from uuid import UUID

import asyncpg
import pytest

from services.chassis.ids import new_id
from services.payments import store
from tests.integration.payments.desk import TOTAL, Desk, cancelled

STATEMENT = re.compile(r"^\s*(select|insert|update|with|delete)\b", re.IGNORECASE)


def statements() -> dict[str, str]:
    """Every SQL constant of the store."""
    found = {}
    for module in pkgutil.iter_modules(store.__path__, f"{store.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.isupper() and isinstance(value, str) and STATEMENT.match(value):
                found[f"{module.name.rpartition('.')[2]}.{name}"] = value
    return found


async def test_every_statement_can_be_prepared_by_the_service(desk: Desk) -> None:
    pool = await desk.db.pool()
    async with pool.acquire() as connection:
        for statement in statements().values():
            await connection.prepare(statement)
    assert len(statements()) >= 20


VIOLATIONS: dict[str, str] = {
    "subject_kind": "update intents set subject_kind = 'gift' where subject_id = $1",
    "status": "update intents set status = 'DONE' where subject_id = $1",
    "amount_paisa": "update intents set amount_paisa = 0 where subject_id = $1",
    "currency": "update intents set currency = 'USD' where subject_id = $1",
    "close_at": "update intents set close_at = pay_by - interval '1 s' where subject_id = $1",
    "answer": "update intents set answer = 'perhaps' where subject_id = $1",
    "seq": "update intents set seq = -1 where subject_id = $1",
    "intents_amount_known": "update intents set amount_paisa = null where subject_id = $1",
    "intents_paid_is_told": """
        update intents set status = 'SUCCEEDED', verified_at = null
        where subject_id = $1""",
    "intents_finalized_is_paid": """
        update intents set status = 'EXPIRED', answer = 'finalized'
        where subject_id = $1""",
    "intents_cancelled_is_final": "update intents set status = 'CANCELLED' where subject_id = $1",
    "provider": "update attempts set provider = 'paypal' where subject_id = $1",
    "reference": "update attempts set reference = 'guessable' where subject_id = $1",
    "attempts_amount": "update attempts set amount_paisa = 0 where subject_id = $1",
    "attempts_status": "update attempts set status = 'PAID' where subject_id = $1",
    "expires_at": "update attempts set expires_at = opened_at where subject_id = $1",
    "closes_at": "update attempts set closes_at = expires_at where subject_id = $1",
    "unknowns": "update attempts set unknowns = -1 where subject_id = $1",
    "checks": "update attempts set checks = -1 where subject_id = $1",
    "attempts_settled_rest": "update attempts set next_check_at = now() where subject_id = $1",
    "attempts_provider_reference_key": """
        insert into attempts (id, subject_id, provider, reference, merchant_code, amount_paisa,
            status, opened_at,
                              expires_at, closes_at)
        select gen_random_uuid(), subject_id, provider, reference, merchant_code, 1, status,
            opened_at, expires_at,
               closes_at from attempts where subject_id = $1""",
    "attempts_subject_id_fkey": """
        insert into attempts (id, subject_id, provider, reference, merchant_code, amount_paisa,
            status, opened_at,
                              expires_at, closes_at)
        select gen_random_uuid(), gen_random_uuid(), provider, md5('x'), merchant_code, 1, status, opened_at,
               expires_at, closes_at from attempts where subject_id = $1""",
    "observation kind": """
        insert into gateway_observations (attempt_id, id, kind, body, body_sha256, verdict)
        values ($1, $1, 'rumour', '', sha256(''), 'Paid')""",
    "observation body": """
        insert into gateway_observations (attempt_id, id, kind, body, body_sha256, verdict)
        values ($1, $1, 'lookup', repeat('x', 4097), sha256(''), 'Paid')""",
    "observation hash": """
        insert into gateway_observations (attempt_id, id, kind, body, body_sha256, verdict)
        values ($1, $1, 'lookup', '', 'short', 'Paid')""",
    "one charge per attempt": """
        insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
        select gen_random_uuid(), id, 'esewa', 'OTHER', 1 from attempts where subject_id = $1""",
    "one attempt per transaction": """
        insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
        select gen_random_uuid(), (select id from attempts where subject_id <> $1), 'esewa',
            provider_txn_id, 1
        from charges""",
    "charge of nothing": """
        insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
        select gen_random_uuid(), id, 'esewa', 'NEW', 0 from attempts where subject_id <> $1""",
    "charge without an id": """
        insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
        select gen_random_uuid(), id, 'esewa', '', 1 from attempts where subject_id <> $1""",
    "charge of an attempt nobody made": """
        insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
        values ($1, $1, 'esewa', 'NEW', 1)""",
    "a second applied charge": """
        with one as (
            insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
            select gen_random_uuid(), id, 'esewa', 'NEW', 1 from attempts where subject_id <> $1 returning id)
        insert into allocations (charge_id, subject_id, kind) select id, $1, 'LATE' from one""",
    "an unheard kind": """
        with one as (
            insert into charges (id, attempt_id, provider, provider_txn_id, amount_paisa)
            select gen_random_uuid(), id, 'esewa', 'NEW', 1 from attempts where subject_id <> $1 returning id)
        insert into allocations (charge_id, subject_id, kind) select id, $1, 'TIP' from one""",
    "a refund over the charge": """
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        select id, $1, id, 'order', 34901, 'MANUAL_PENDING' from charges""",
    "refunds over the charge together": """
        with one as (
            insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
            select gen_random_uuid(), $1, id, 'item', 300, 'MANUAL_PENDING' from charges)
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        select id, $1, id, 'order', 34900, 'MANUAL_PENDING' from charges""",
    "a refund for no reason": """
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        select id, $1, id, 'kindness', 1, 'MANUAL_PENDING' from charges""",
    "a refund of nothing": """
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        select id, $1, id, 'order', 0, 'MANUAL_PENDING' from charges""",
    "a refund in an unheard state": """
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        select id, $1, id, 'order', 1, 'SENT' from charges""",
    "a refund done without evidence": """
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        select id, $1, id, 'order', 1, 'SUCCEEDED' from charges""",
    "an item's refund named like the charge": """
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        select id, $1, id, 'item', 1, 'MANUAL_PENDING' from charges""",
    "a case for no reason": """
        insert into review_cases (id, subject_id, reason) values (gen_random_uuid(), $1, 'boredom')""",
    "a closed case without a resolution": """
        insert into review_cases (id, subject_id, reason, open)
        values (gen_random_uuid(), $1, 'undecided', false)""",
    "a mismatch of no attempt": """
        insert into review_cases (id, subject_id, reason) values (gen_random_uuid(), $1, 'mismatch')""",
    "unanswered twice": """
        insert into review_cases (id, subject_id, reason)
        values (gen_random_uuid(), $1, 'unanswered'), (gen_random_uuid(), $1, 'unanswered')""",
    "an item in an unheard state": """
        insert into payment_items (id, subject_id, vendor_id, net_paisa, status)
        values ($1, $1, $1, 1, 'lost')""",
    "an item of less than nothing": """
        insert into payment_items (id, subject_id, vendor_id, net_paisa, status)
        values ($1, $1, $1, -1, 'ordered')""",
    "a delivery of less than nothing": """
        insert into payment_items (id, subject_id, vendor_id, net_paisa, delivery_paisa, status)
        values ($1, $1, $1, 1, -1, 'ordered')""",
}


@pytest.fixture
async def paid_order(desk: Desk) -> UUID:
    """One paid order beside one that is not."""
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    await desk.opened()
    return order_id


async def test_each_constraint_is_violated_once(desk: Desk, paid_order: UUID) -> None:
    missed = []
    for name, statement in VIOLATIONS.items():
        try:
            async with desk.admin.transaction():
                await desk.admin.execute(statement, paid_order)
                missed.append(name)
        except asyncpg.IntegrityConstraintViolationError:
            continue
    assert missed == []


FORBIDDEN = [
    "update charges set amount_paisa = 1",
    "delete from charges",
    "truncate charges cascade",
    "update allocations set kind = 'SURPLUS'",
    "delete from allocations",
    "update gateway_observations set verdict = 'Paid'",
    "delete from gateway_observations",
    "truncate gateway_observations",
    "update intents set amount_paisa = 1",
    "update intents set customer_id = subject_id",
    "delete from intents",
    "update attempts set reference = md5('x')",
    "update attempts set amount_paisa = 1",
    "delete from attempts",
    "update refunds set amount_paisa = 1",
    "delete from refunds",
    "delete from review_cases",
    "delete from payment_items",
]


@pytest.mark.usefixtures("paid_order")
@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_service_may_not_rewrite_what_is_frozen(desk: Desk, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with desk.db.transaction() as tx:
            await tx.connection.execute(statement)


@pytest.mark.usefixtures("paid_order")
@pytest.mark.parametrize("table", ["charges", "allocations", "gateway_observations"])
@pytest.mark.parametrize("how", ["delete from {}", "truncate {} cascade"])
async def test_not_even_an_administrator_rewrites_history(desk: Desk, table: str, how: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await desk.admin.execute(how.format(table))


async def test_refunds_at_once_never_exceed_their_charge(desk: Desk, paid_order: UUID) -> None:
    charge = await desk.admin.fetchval("select id from charges")
    insert = """
        insert into refunds (id, subject_id, charge_id, cause, amount_paisa, status)
        values ($1, $2, $3, 'item', $4, 'MANUAL_PENDING')
    """
    async with desk.db.transaction() as first:
        await first.execute(insert, new_id(), paid_order, charge, TOTAL // 2 + 1)
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with desk.db.transaction(lock_timeout_ms=50) as second:
                await second.execute(insert, new_id(), paid_order, charge, TOTAL // 2 + 1)
    with pytest.raises(asyncpg.CheckViolationError):
        async with desk.db.transaction() as second:
            await second.execute(insert, new_id(), paid_order, charge, TOTAL // 2 + 1)


async def test_a_checkout_cancelled_before_it_could_be_paid_has_no_amount(desk: Desk) -> None:
    order_id = new_id()
    await desk.cancel(cancelled(order_id))
    [row] = await desk.admin.fetch("select * from intents where subject_id = $1", order_id)
    assert (row["status"], row["amount_paisa"], row["answer"]) == ("CANCELLED", None, "cancelled")
