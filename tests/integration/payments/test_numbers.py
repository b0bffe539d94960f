"""What the tables of payments say: money without an order, windows nobody closed."""

from prometheus_client import REGISTRY

from services.payments import health
from services.payments.verdicts import NotSeen
from tests.integration.payments.desk import Desk, finalized

EARLIER = "update intents set verified_at = verified_at - make_interval(secs => $2) where subject_id = $1"
CLOSED_EARLIER = """
    update intents set pay_by = pay_by - interval '1 hour', close_at = close_at - make_interval(secs => $2)
    where subject_id = $1
"""


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def measure(desk: Desk) -> None:
    async with desk.db.transaction() as tx:
        await health.measuring(desk.gateways.settings)(tx)


async def test_a_payment_without_an_order_is_told_by_its_age_until_it_is_answered(desk: Desk) -> None:
    order_id = await desk.opened()
    await measure(desk)
    assert shown("kb_payments_unanswered_oldest_age_seconds") == 0

    await desk.answer(order_id, desk.paid())
    await desk.admin.execute(EARLIER, order_id, 90.0)
    await measure(desk)
    assert 90 <= (shown("kb_payments_unanswered_oldest_age_seconds") or 0) < 150

    await desk.finalize(finalized(order_id))
    await measure(desk)
    assert shown("kb_payments_unanswered_oldest_age_seconds") == 0


async def test_a_window_that_could_have_been_closed_half_a_minute_ago_is_stuck(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, NotSeen())
    await desk.end_window(order_id)
    await desk.admin.execute("update attempts set answered_at = now() + interval '1 s'")
    await measure(desk)
    assert shown("kb_stuck_work", kind="window") == 0, "the clock still has time to close it"

    await desk.admin.execute(CLOSED_EARLIER, order_id, 31.0)
    await measure(desk)
    assert shown("kb_stuck_work", kind="window") == 1
