"""What payments says of its own work: how long an order takes, and what waits for too long, for whom."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.chassis.reconciler import Reconciler, run_once
from services.payments import reconcilers
from services.payments.health import numbers_of
from services.payments.verdicts import Hold, Mismatch
from tests.integration.payments.desk import Desk, cancelled, finalized

CALM = {"unanswered": 0, "windows": 0, "attempts": 0, "refunds": 0, "cases": 0}


async def numbers(desk: Desk) -> dict[str, Any]:
    async with desk.db.transaction() as tx:
        return await numbers_of(desk.gateways.settings)(tx, await tx.now())


async def read(_: Sequence[str]) -> bool:
    return True


async def look(desk: Desk, duty: Reconciler) -> int | None:
    return await run_once(duty, desk.db, read)


def stuck(kind: str) -> float | None:
    return REGISTRY.get_sample_value("kb_stuck_work", {"kind": kind})


async def test_intents_are_counted_by_where_they_stand(desk: Desk) -> None:
    _, paid, ended = await desk.opened(), await desk.opened(), await desk.opened()
    await desk.answer(paid, desk.paid())
    await desk.cancel(cancelled(ended))
    found = await numbers(desk)
    assert found["counts"]["intents_last_day"] == {"AWAITING_PAYMENT": 1, "SUCCEEDED": 1, "CANCELLED": 1}
    assert found["counts"]["open_windows"] == 1
    assert found["stuck"] == CALM


async def test_the_time_from_payment_to_order_is_measured_on_one_clock(desk: Desk) -> None:
    calm = await numbers(desk)
    nothing = {"orders": 0, "verified": 0, "share": None, "average_s": None, "p95_s": None}
    assert calm["payment_to_order"] == nothing
    paid = [await desk.opened() for _ in range(20)]
    for order_id in paid:
        await desk.answer(order_id, desk.paid())
        await desk.finalize(finalized(order_id))
    await desk.admin.execute("update intents set verified_at = answered_at - interval '2 s'")
    await desk.admin.execute(
        "update intents set verified_at = answered_at - interval '42 s' where subject_id = $1", paid[0]
    )
    found = (await numbers(desk))["payment_to_order"]
    assert found["orders"] == 20
    assert found["average_s"] == pytest.approx(4.0)
    assert found["p95_s"] == pytest.approx(2 + 40 * 0.05)


async def test_the_share_of_payments_that_became_orders_leaves_out_those_on_their_way(desk: Desk) -> None:
    ordered, called_off, young, lost = [await desk.opened() for _ in range(4)]
    for order_id in (ordered, called_off, young, lost):
        await desk.answer(order_id, desk.paid())
    await desk.finalize(finalized(ordered))
    await desk.cancel(cancelled(called_off))
    assert (await numbers(desk))["payment_to_order"]["share"] == 1 / 2
    await desk.admin.execute(
        "update intents set verified_at = verified_at - interval '61 s' where subject_id = $1", lost
    )
    found = (await numbers(desk))["payment_to_order"]
    assert (found["orders"], found["verified"], found["share"]) == (1, 3, 1 / 3)


async def test_an_answer_that_comes_twice_keeps_its_first_time(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    order = finalized(order_id)
    await desk.finalize(order)
    first = await desk.admin.fetchval("select answered_at from intents")
    await desk.finalize(order)
    await desk.answer(order_id, desk.paid())
    assert first == await desk.admin.fetchval("select answered_at from intents")
    assert first is not None


async def test_money_without_an_answer_is_stuck_after_a_minute(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    assert (await numbers(desk))["stuck"] == CALM
    await desk.admin.execute("update intents set verified_at = verified_at - interval '61 s'")
    assert (await numbers(desk))["stuck"] == CALM | {"unanswered": 1}


async def test_an_attempt_that_nobody_asks_about_calls_somebody(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.admin.execute("update attempts set next_check_at = now() - interval '299 s'")
    assert await look(desk, reconcilers.alarm_unchecked_attempts) == 0
    await desk.admin.execute("update attempts set next_check_at = now() - interval '301 s'")
    assert (await numbers(desk))["stuck"] == CALM | {"attempts": 1}
    assert await look(desk, reconcilers.alarm_unchecked_attempts) == 1
    assert stuck("attempt") == 1
    await desk.answer(order_id, desk.paid())
    assert await look(desk, reconcilers.alarm_unchecked_attempts) == 0
    assert stuck("attempt") == 0


async def test_a_refund_nobody_has_sent_within_a_day_calls_somebody(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    await desk.cancel(cancelled(order_id))
    assert await look(desk, reconcilers.alarm_waiting_refunds) == 0
    await desk.admin.execute("update refunds set requested_at = now() - interval '25 h'")
    assert await look(desk, reconcilers.alarm_waiting_refunds) == 1
    assert (await numbers(desk))["stuck"] == CALM | {"refunds": 1}
    [refund] = await desk.rows("refunds", order_id)
    await desk.refund_done(order_id, refund["id"])
    assert await look(desk, reconcilers.alarm_waiting_refunds) == 0
    assert (await numbers(desk))["stuck"] == CALM


async def test_a_case_nobody_has_closed_within_a_day_calls_somebody(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, Mismatch("less", 1_00, "T-odd"))
    assert await look(desk, reconcilers.alarm_open_cases) == 0
    await desk.admin.execute("update review_cases set opened_at = now() - interval '25 h'")
    assert await look(desk, reconcilers.alarm_open_cases) == 1
    assert stuck("case") == 1
    assert (await numbers(desk))["stuck"] == CALM | {"cases": 1}


async def test_a_window_is_stuck_when_neither_time_nor_a_case_has_ended_it(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.end_window(order_id)
    await desk.answer(order_id, Hold())
    desk.use(patience_s=0.0)
    assert (await numbers(desk))["stuck"] == CALM
    await desk.admin.execute(
        "update intents set pay_by = now() - interval '1 min', close_at = now() - interval '31 s'"
    )
    assert (await numbers(desk))["stuck"] == CALM | {"windows": 1}
    assert await look(desk, reconcilers.close_windows) == 1
    assert (await numbers(desk))["stuck"] == CALM
