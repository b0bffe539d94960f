"""What the clock heals: windows that stay open, money nobody answers, attempts nobody asks about."""

from uuid import UUID

import asyncpg
import pytest

from contracts.topics import PARTITIONS
from services.chassis.murmur2 import partition_of
from services.chassis.reconciler import Reconciler
from services.payments import reconcilers
from services.payments.verdicts import Hold, Mismatch, NotSeen, Unknown
from tests.integration.payments.desk import Desk, cancelled, finalized

SEEN_BY_THE_BROKER = "update outbox_shard set snap = pg_current_snapshot()"


async def _heal(desk: Desk, duty: Reconciler) -> int:
    async with desk.db.transaction() as tx:
        return await duty.heal(tx, await tx.now())


async def test_a_window_that_nobody_closed_is_closed(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, NotSeen())
    assert await _heal(desk, reconcilers.close_windows) == 0
    await desk.end_window(order_id)
    assert await _heal(desk, reconcilers.close_windows) == 0  # not asked since the end
    await desk.admin.execute("update attempts set answered_at = now() + interval '1 s'")
    assert await _heal(desk, reconcilers.close_windows) == 1
    assert await _heal(desk, reconcilers.close_windows) == 0
    assert await desk.topics(order_id) == ["payment.opened", "payment.failed"]


@pytest.mark.parametrize("useless", [Unknown("HTTP 503"), Hold()], ids=["unknown", "ambiguous"])
async def test_what_nobody_can_decide_becomes_a_case_once_patience_ends(
    desk: Desk, useless: Unknown | Hold
) -> None:
    order_id = await desk.opened()
    await desk.end_window(order_id)
    await desk.answer(order_id, useless)
    assert await _heal(desk, reconcilers.close_windows) == 0
    desk.use(patience_s=0.0)
    assert await _heal(desk, reconcilers.close_windows) == 1
    assert await _heal(desk, reconcilers.close_windows) == 0
    assert (await desk.topics(order_id)).count("payment.held") == 1
    await desk.answer(order_id, NotSeen())
    assert (await desk.topics(order_id))[-2:] == ["payment.held", "payment.failed"]


async def test_a_window_under_review_is_left_to_the_reviewer(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, Mismatch("less", 1_00, "T-odd"))
    await desk.end_window(order_id)
    desk.use(patience_s=0.0)
    assert await _heal(desk, reconcilers.close_windows) == 0
    [case] = await desk.rows("review_cases", order_id)
    assert case["reason"] == "mismatch"


async def test_undecidable_windows_do_not_crowd_out_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcilers, "MOST", 1)
    stuck, over = await desk.opened(), await desk.opened()
    await desk.end_window(stuck)
    await desk.answer(stuck, Hold())
    await desk.admin.execute(
        "update attempts set answered_at = now() + interval '1 s' where subject_id = $1", over
    )
    await desk.end_window(over)
    assert await _heal(desk, reconcilers.close_windows) == 1
    assert await desk.status(over) == "EXPIRED"


async def test_unanswered_money_alarms_and_becomes_a_case_once_it_has_left_the_outbox(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    assert await _heal(desk, reconcilers.alarm_unanswered) == 0
    desk.use(alarm_unanswered_s=0.0, unanswered_s=0.0)
    assert await _heal(desk, reconcilers.alarm_unanswered) == 1
    assert await _heal(desk, reconcilers.open_unanswered_cases) == 0  # still in our own outbox
    await desk.admin.execute(SEEN_BY_THE_BROKER)
    await _heal(desk, reconcilers.alarm_unanswered)
    assert await _heal(desk, reconcilers.open_unanswered_cases) == 1
    assert await _heal(desk, reconcilers.open_unanswered_cases) == 0
    await desk.finalize(finalized(order_id))
    assert await _heal(desk, reconcilers.alarm_unanswered) == 0
    assert [row["open"] for row in await desk.rows("review_cases", order_id)] == [False]
    assert (await desk.topics(order_id)).count("payment.verified") == 1


def _part(order_id: UUID) -> int:
    return partition_of(str(order_id).encode(), PARTITIONS)


async def test_money_told_on_one_shard_does_not_wait_for_another_that_stands_still(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcilers, "MOST", 1)
    desk.use(unanswered_s=0.0)
    paid = [await desk.opened(), await desk.opened()]
    while len({_part(order_id) for order_id in paid}) == 1:
        paid.append(await desk.opened())
    for order_id in paid:
        await desk.answer(order_id, desk.paid())
    told = paid[-1]
    await desk.admin.execute(f"{SEEN_BY_THE_BROKER} where part = $1", _part(told))
    for _ in paid:
        await _heal(desk, reconcilers.alarm_unanswered)
    assert await _heal(desk, reconcilers.open_unanswered_cases) == 1
    assert [row["reason"] for row in await desk.rows("review_cases", told)] == ["unanswered"]


async def test_unanswered_money_from_a_dump_becomes_a_case_too(desk: Desk) -> None:
    desk.use(unanswered_s=0.0)
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    await desk.admin.execute("update intents set verified_xid = '900000000000'")
    await desk.admin.execute("update outbox_shard set snap = '800000000000:800000000000:'")
    await _heal(desk, reconcilers.alarm_unanswered)
    assert await _heal(desk, reconcilers.open_unanswered_cases) == 0, "it was not published over there"
    await desk.admin.execute(SEEN_BY_THE_BROKER)
    await _heal(desk, reconcilers.alarm_unanswered)
    assert await _heal(desk, reconcilers.open_unanswered_cases) == 1


async def test_answered_money_alarms_nobody(desk: Desk) -> None:
    first, second = await desk.opened(), await desk.opened()
    for order_id in (first, second):
        await desk.answer(order_id, desk.paid())
    await desk.finalize(finalized(first))
    await desk.cancel(cancelled(second))
    desk.use(alarm_unanswered_s=0.0)
    assert await _heal(desk, reconcilers.alarm_unanswered) == 0


async def test_an_attempt_nobody_would_ask_about_is_asked_about(desk: Desk) -> None:
    order_id = await desk.opened()
    paid = await desk.opened()
    await desk.answer(paid, desk.paid())
    await desk.admin.execute("update attempts set next_check_at = null")
    assert await _heal(desk, reconcilers.wake_forgotten_attempts) == 1
    assert await _heal(desk, reconcilers.wake_forgotten_attempts) == 0
    [claimed] = await desk.claim()
    assert claimed.subject_id == order_id


async def _plan_of(admin: asyncpg.Connection, statement: str) -> str:
    await admin.execute("set enable_seqscan = off")
    return "\n".join(row[0] for row in await admin.fetch(f"explain {statement}"))


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("select id from attempts where next_check_at <= now() order by next_check_at", "attempts_due"),
        ("select 1 from intents where status = 'AWAITING_PAYMENT' and close_at <= now()", "intents_closing"),
        ("select 1 from review_cases where open", "review_cases_open"),
        (
            "select 1 from attempts where provider = 'esewa' and reference = 'x'",
            "attempts_provider_reference_key",
        ),
    ],
)
async def test_what_is_due_is_found_by_an_index(desk: Desk, statement: str, index: str) -> None:
    assert index in await _plan_of(desk.admin, statement)
