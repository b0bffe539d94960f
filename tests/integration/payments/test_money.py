"""Held stock to proven money, on a real database."""

from tests.integration.payments.desk import TOTAL, Desk, reserved


async def test_held_stock_is_paid_and_told_once(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    assert await desk.status(order_id) == "SUCCEEDED"
    assert await desk.told(order_id) == [(1, "payment.opened"), (2, "payment.verified")]
    [allocation] = await desk.rows("allocations", order_id)
    assert allocation["kind"] == "APPLIED"
    [charge] = await desk.admin.fetch("select * from charges")
    assert (charge["id"], charge["amount_paisa"]) == (allocation["charge_id"], TOTAL)
    [observation] = await desk.admin.fetch("select * from gateway_observations")
    assert observation["id"] == charge["id"]


async def test_a_batch_opens_and_settles_in_a_few_statements(desk: Desk) -> None:
    events = [reserved() for _ in range(200)]
    verdicts = await desk.open(*events, *events[:5])
    assert len(verdicts.changed) == 200
