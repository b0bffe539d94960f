"""Held stock to proven money and back, on a real database."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg
import pytest

from contracts.event import Envelope
from services.chassis.decisions import Changed, Never, Refused, Unchanged
from services.payments.verdicts import Declined, Hold, Mismatch, NotSeen, Refunded, Unknown
from tests.integration.payments.desk import (
    TOTAL,
    Desk,
    cancelled,
    finalized,
    item_cancelled,
    item_fulfilled,
    reserved,
)


async def test_held_stock_is_paid_and_told_once(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    assert await desk.status(order_id) == "SUCCEEDED"
    assert await desk.told(order_id) == [(1, "payment.opened"), (2, "payment.verified")]
    assert await desk.kinds(order_id) == ["APPLIED"]
    [charge] = await desk.admin.fetch("select * from charges")
    [observation] = await desk.admin.fetch("select * from gateway_observations")
    assert charge["amount_paisa"] == TOTAL
    assert observation["id"] == charge["id"]
    [attempt] = await desk.attempts(order_id)
    assert (attempt["status"], attempt["next_check_at"]) == ("CONFIRMED", None)


async def test_cash_and_a_hold_made_again_open_nothing(desk: Desk) -> None:
    verdicts = await desk.open(reserved(method="cod"), reserved(hold_no=2), reserved())
    assert [type(outcome) for outcome in verdicts.outcomes] == [Unchanged, Unchanged, Changed]
    khalti = await desk.open(reserved(method="khalti"))
    assert isinstance(khalti.outcomes[0], Never)


async def test_the_same_answer_again_changes_nothing(desk: Desk) -> None:
    order_id = await desk.opened()
    money = desk.paid()
    await desk.answer(order_id, money)
    before = await desk.everything()
    await desk.answer(order_id, money)
    await desk.answer(order_id, NotSeen())
    after = await desk.everything()
    assert after["charges"] == before["charges"]
    assert after["outbox"] == before["outbox"]
    assert await desk.admin.fetchval("select count(*) from gateway_observations") == 3


async def test_fifty_settles_at_once_make_one_charge_and_one_fact(desk: Desk) -> None:
    order_id = await desk.opened()
    money = desk.paid()
    await asyncio.gather(*(desk.answer(order_id, money) for _ in range(50)))
    assert await desk.topics(order_id) == ["payment.opened", "payment.verified"]
    assert await desk.admin.fetchval("select count(*) from charges") == 1


async def test_two_attempts_paid_are_one_payment_and_one_refund(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.another(order_id)
    await desk.answer(order_id, desk.paid(), attempt=1)
    await desk.answer(order_id, desk.paid(), attempt=0)
    assert await desk.kinds(order_id) == ["APPLIED", "SURPLUS"]
    [refund] = await desk.rows("refunds", order_id)
    assert (refund["cause"], refund["status"], refund["amount_paisa"]) == ("surplus", "MANUAL_PENDING", TOTAL)
    await desk.refund_done(order_id, refund["id"])
    assert (await desk.topics(order_id)).count("payment.verified") == 1
    assert (await desk.topics(order_id))[-1] == "payment.refunded"


async def test_another_amount_is_held_and_goes_back_by_decision(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, Mismatch("less", 1_00, "T-odd"))
    assert await desk.kinds(order_id) == ["MISMATCH"]
    assert await desk.status(order_id) == "AWAITING_PAYMENT"
    assert await desk.topics(order_id) == ["payment.opened", "payment.held"]
    [case] = await desk.rows("review_cases", order_id)
    assert (case["reason"], case["open"]) == ("mismatch", True)


async def test_an_answer_about_somebody_elses_payment_takes_no_money(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, Mismatch("another reference"))
    assert await desk.kinds(order_id) == []
    await desk.answer(order_id, desk.paid())
    assert await desk.kinds(order_id) == ["APPLIED"]
    [case] = await desk.rows("review_cases", order_id)
    assert not case["open"]
    held = ["payment.opened", "payment.held", "payment.held", "payment.verified"]
    assert sorted(await desk.topics(order_id)) == sorted(held)


async def test_one_payment_counts_for_one_attempt(desk: Desk) -> None:
    first, second = await desk.opened(), await desk.opened()
    await desk.answer(first, desk.paid(txn_id="SAME"))
    await desk.answer(second, desk.paid(txn_id="SAME"))
    assert await desk.status(second) == "AWAITING_PAYMENT"
    assert await desk.admin.fetchval("select count(*) from charges") == 1


async def test_paid_after_the_end_is_told_late_and_refunded_after_a_cancel(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.cancel(cancelled(order_id))
    await desk.answer(order_id, desk.paid())
    assert await desk.kinds(order_id) == ["LATE"]
    assert await desk.topics(order_id) == ["payment.opened", "payment.verified"]
    [refund] = await desk.rows("refunds", order_id)
    assert (refund["cause"], refund["amount_paisa"]) == ("late", TOTAL)


async def test_cancelled_after_payment_refunds_all_of_it(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    await desk.cancel(cancelled(order_id), cancelled(order_id))
    [refund] = await desk.rows("refunds", order_id)
    assert (refund["cause"], refund["amount_paisa"]) == ("order", TOTAL)
    assert await desk.status(order_id) == "CANCELLED"


async def test_cancelled_before_held_stock_opens_nothing(desk: Desk) -> None:
    event = reserved()
    await desk.cancel(cancelled(event.order_id))
    verdicts = await desk.open(event)
    assert isinstance(verdicts.outcomes[0], Unchanged)
    assert await desk.topics(event.order_id) == []


async def test_a_window_closes_when_its_last_lookups_find_nothing(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.end_window(order_id)
    await desk.answer(order_id, Unknown("HTTP 503"))
    assert await desk.status(order_id) == "AWAITING_PAYMENT"
    await desk.answer(order_id, Hold())
    assert await desk.status(order_id) == "AWAITING_PAYMENT"
    await desk.answer(order_id, NotSeen())
    assert await desk.status(order_id) == "EXPIRED"
    assert await desk.topics(order_id) == ["payment.opened", "payment.failed"]


async def test_money_after_expiry_is_applied_and_told_late(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.end_window(order_id)
    await desk.answer(order_id, NotSeen())
    await desk.answer(order_id, desk.paid())
    assert await desk.kinds(order_id) == ["APPLIED"]
    payload = await desk.admin.fetchval("select payload from outbox where topic = 'payment.verified'")
    assert b'"late":true' in payload


async def test_a_declined_attempt_is_told_while_the_window_is_open(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, Declined())
    await desk.answer(order_id, Declined())
    assert await desk.topics(order_id) == ["payment.opened", "payment.declined"]
    await desk.answer(order_id, desk.paid())
    assert await desk.status(order_id) == "SUCCEEDED"


async def test_a_cancelled_item_goes_back_once_and_never_more_than_was_paid(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    order = finalized(order_id, nets=(200_00, 100_00))
    await desk.finalize(order, order)
    verdicts = await desk.cancel_items(
        item_cancelled(order, 0), item_cancelled(order, 0), item_cancelled(order, 1, refund_paisa=TOTAL)
    )
    assert [type(outcome) for outcome in verdicts.outcomes] == [Changed, Unchanged, Never]
    [refund] = await desk.rows("refunds", order_id)
    assert (refund["id"], refund["amount_paisa"]) == (order.items[0].id, 200_00)
    await desk.refund_done(order_id, refund["id"])
    payload = await desk.admin.fetchval("select payload from outbox where topic = 'payment.refunded'")
    assert b'"outstanding_paisa":14900' in payload


async def test_an_item_event_before_its_order_makes_the_row_that_the_order_completes(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    order = finalized(order_id, nets=(200_00, 100_00))
    await desk.fulfil_items(item_fulfilled(order, 1))
    await desk.finalize(order)
    items = {
        row["id"]: (row["status"], row["delivery_paisa"])
        for row in await desk.rows("payment_items", order_id)
    }
    assert items == {order.items[0].id: ("ordered", 49_00), order.items[1].id: ("fulfilled", 0)}


async def test_a_reversal_holds_refunds_until_it_is_decided(desk: Desk) -> None:
    order_id = await desk.opened()
    money = desk.paid()
    await desk.answer(order_id, money)
    await desk.cancel(cancelled(order_id))
    [refund] = await desk.rows("refunds", order_id)
    await desk.answer(order_id, Declined())
    refused = await desk.refund_done(order_id, refund["id"])
    assert isinstance(refused.outcomes[0], Refused)
    await desk.answer(order_id, money)
    assert isinstance((await desk.refund_done(order_id, refund["id"])).outcomes[0], Changed)
    await desk.answer(order_id, Refunded())
    assert [row["open"] for row in await desk.rows("review_cases", order_id)] == [False]


async def test_a_return_is_told_once_and_asks_at_most_every_two_seconds(desk: Desk) -> None:
    order_id = await desk.opened()
    outcomes = [(await desk.come_back(order_id)).outcomes[0] for _ in range(30)]
    assert [isinstance(outcome, Changed) for outcome in outcomes] == [True] + [False] * 29
    assert await desk.topics(order_id) == ["payment.opened", "payment.returned"]
    assert len(await desk.claim()) == 1
    assert await desk.claim() == []


async def test_an_answer_by_orders_closes_the_unanswered_case(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    await desk.unanswered(order_id)
    await desk.unanswered(order_id)
    await desk.finalize(finalized(order_id))
    assert [row["open"] for row in await desk.rows("review_cases", order_id)] == [False]
    assert (await desk.topics(order_id)).count("payment.held") == 2


async def test_everything_told_continues_the_trace_of_the_checkout(desk: Desk) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    event = reserved()
    event.within(Envelope(traceparent=trace))
    await desk.open(event)
    await desk.come_back(event.order_id)
    await desk.answer(event.order_id, desk.paid())
    rows = await desk.admin.fetch("select traceparent from outbox where key = $1", str(event.order_id))
    assert len(rows) == 3
    assert all(row["traceparent"] == trace for row in rows)


async def _patiently(act: Callable[[], Awaitable[object]]) -> None:
    """As the consumer does: what may succeed if it is simply run again is run again."""
    try:
        await act()
    except asyncpg.SerializationError:
        await act()


async def test_two_first_facts_of_one_subject_at_once_end_in_one_intent(desk: Desk) -> None:
    for _ in range(10):
        event = reserved()

        await asyncio.gather(
            _patiently(partial(desk.open, event)), _patiently(partial(desk.cancel, cancelled(event.order_id)))
        )
        assert await desk.status(event.order_id) == "CANCELLED"


@pytest.mark.parametrize("size", [1, 200])
async def test_a_batch_costs_the_same_few_statements(desk: Desk, size: int) -> None:
    events = [reserved() for _ in range(size)]
    assert await desk.counting(lambda: desk.open(*events)) <= 5
    assert await desk.counting(lambda: desk.settle_all([event.order_id for event in events])) <= 7
    orders = [finalized(event.order_id, nets=(200_00, 100_00)) for event in events]
    assert await desk.counting(lambda: desk.finalize(*orders)) <= 5
