"""The poller and a real gateway's stand-in: every fault it can play, and what is left of the money then."""

import asyncio
from functools import partial
from uuid import UUID

import pytest

from services.chassis.app import Runtime
from services.payments.actions.settling import seen
from services.payments.poller import Line, settle_answers, wake_all
from services.payments.providers import Answer, Asked
from services.payments.verdicts import Paid, Unknown
from tests.fakes.esewa.faults import (
    Delay,
    Drip,
    ErrorBody,
    Fault,
    Hang,
    Http,
    MissingRefId,
    OtherProductCode,
    OtherStatus,
    OtherUuid,
    Oversized,
    Redirect,
    Reset,
    WrongAmount,
)
from tests.integration.payments.conftest import Polling
from tests.integration.payments.desk import TOTAL, Desk
from tests.support.waiting import until


async def _settled(desk: Desk, order_id: UUID, status: str = "SUCCEEDED") -> bool:
    return await desk.status(order_id) == status


async def _checks(desk: Desk, order_id: UUID) -> int:
    """How often the gateway was asked about this order's attempts."""
    references = {row["reference"] for row in await desk.attempts(order_id)}
    return sum(one.reference in references for one in await desk.simulator.log(operation="status"))


async def test_a_closed_tab_loses_nothing(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    await desk.make_due(order_id)
    async with polling():
        await until(partial(_settled, desk, order_id))
    [truth] = await desk.simulator.truth()
    [charge] = await desk.admin.fetch("select * from charges")
    assert (charge["provider_txn_id"], charge["amount_paisa"]) == (truth.ref_id, TOTAL)


async def test_a_return_brings_the_question_at_once(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened()
    async with polling(poll_every_s=60.0) as runtime:
        await desk.pay(order_id)
        await desk.come_back(order_id)
        runtime.wake.set()
        await until(partial(_settled, desk, order_id), within_s=10)
    assert await desk.topics(order_id) == ["payment.opened", "payment.returned", "payment.verified"]
    assert await _checks(desk, order_id) == 1


async def test_a_line_that_looks_anew_takes_no_other_ones_wake(desk: Desk) -> None:
    runtime = Runtime(desk.db, desk.gateways.settings, asyncio.Event(), asyncio.Event())
    [adapter] = desk.gateways.adapters.values()
    quick, busy = (Line(runtime, desk.gateways, adapter) for _ in range(2))
    waking = asyncio.create_task(wake_all(runtime, [quick, busy]))
    runtime.wake.set()
    await asyncio.wait_for(quick.wake.wait(), 10)
    await quick._ask_what_is_due()  # noqa: SLF001 - the very moment between another line's look and its pause
    await asyncio.wait_for(busy._pause(600), 10)  # noqa: SLF001
    runtime.stopping.set()
    await waking


async def test_a_thousand_returns_ask_no_more_than_the_plan_allows(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened()
    async with polling(poll_after_return_s=(3600.0,)):
        for _ in range(20):
            await asyncio.gather(*(desk.come_back(order_id) for _ in range(50)))
        [row] = await desk.admin.fetch("select opened_at, now() from attempts")
    elapsed = (row["now"] - row["opened_at"]).total_seconds()
    returns = await desk.admin.fetchval("select count(*) from gateway_observations where kind = 'return'")
    assert 1 <= returns <= 1 + elapsed / 2
    assert await _checks(desk, order_id) <= returns


async def test_two_hundred_due_attempts_are_settled_without_a_browser(desk: Desk, polling: Polling) -> None:
    orders = [await desk.opened() for _ in range(60)]
    for order_id in orders:
        await desk.pay(order_id)
    await desk.admin.execute("update attempts set next_check_at = now()")
    async with polling(), polling():  # two replicas share the work

        async def all_paid() -> bool:
            paid = await desk.admin.fetchval("select count(*) from intents where status = 'SUCCEEDED'")
            return bool(paid == 60)

        await until(all_paid)
    truth = {(payment.ref_id, payment.amount_paisa) for payment in await desk.simulator.truth()}
    charged = {
        tuple(row) for row in await desk.admin.fetch("select provider_txn_id, amount_paisa from charges")
    }
    assert charged == truth
    assert await desk.admin.fetchval("select count(*) from outbox where topic = 'payment.verified'") == 60


USELESS: dict[str, Fault] = {
    "an error": Http(status=500, effect=True),
    "too many requests": Http(status=429, body="json", retry_after_s=1, effect=True),
    "forbidden, as a page": Http(status=403, body="html", effect=True),
    "a page under 200": Http(status=200, body="html", effect=True),
    "nothing under 200": Http(status=200, body="empty", effect=True),
    "half an answer": Http(status=200, body="truncated", effect=True),
    "their own error": ErrorBody(),
    "too much": Oversized(),
    "elsewhere": Redirect(),
    "a cut connection": Reset(),
    "silence": Hang(),
    "drop by drop": Drip(pause_s=0.3),
    "a late answer": Delay(seconds=30),
    "no id": MissingRefId(),
    "an empty id": MissingRefId(how="empty"),
    "an unknown word": OtherStatus(showing="SETTLED"),
    "another case": OtherStatus(showing="complete"),
    "not found at first": OtherStatus(showing="NOT_FOUND"),
    "ambiguous at first": OtherStatus(showing="AMBIGUOUS"),
    "pending at first": OtherStatus(showing="PENDING"),
}


@pytest.mark.parametrize("fault", USELESS.values(), ids=USELESS.keys())
async def test_an_answer_that_proves_nothing_only_brings_another_question(
    desk: Desk, polling: Polling, fault: Fault
) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    await desk.simulator.faults(fault, op="status", times=None)
    await desk.come_back(order_id)
    async with polling(gateway_answer_s=0.3, poll_undecided_every_s=0.05) as runtime:

        async def asked_twice() -> bool:
            return await _checks(desk, order_id) >= 2

        await until(asked_twice)
        assert await desk.kinds(order_id) == []
        assert "payment.failed" not in await desk.topics(order_id)
        await desk.simulator.clear_faults()
        await until(partial(_settled, desk, order_id))
        assert not runtime.stopping.is_set()
    assert (await desk.topics(order_id)).count("payment.verified") == 1


async def test_an_outage_of_the_gateway_is_waited_out(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    await desk.make_due(order_id)
    async with polling():
        async with desk.simulator.outage():

            async def in_vain() -> bool:
                seen = await desk.admin.fetchval("select unknowns from attempts")
                return bool(seen >= 3)

            await until(in_vain)
            assert await desk.status(order_id) == "AWAITING_PAYMENT"
        await until(partial(_settled, desk, order_id))


async def test_a_wrong_amount_is_held_for_a_person(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    await desk.simulator.faults(WrongAmount(), op="status")
    await desk.make_due(order_id)
    async with polling():

        async def held() -> bool:
            return "payment.held" in await desk.topics(order_id)

        await until(held)
    assert await desk.kinds(order_id) == ["MISMATCH"]
    assert await desk.status(order_id) == "AWAITING_PAYMENT"


@pytest.mark.parametrize("fault", [OtherProductCode(), OtherUuid()], ids=["merchant", "reference"])
async def test_a_payment_of_somebody_else_is_a_case_until_the_answer_is_about_us(
    desk: Desk, polling: Polling, fault: Fault
) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    await desk.simulator.faults(fault, op="status")
    await desk.come_back(order_id)
    async with polling():
        await until(partial(_settled, desk, order_id))
    assert [row["open"] for row in await desk.rows("review_cases", order_id)] == [False]
    assert await desk.kinds(order_id) == ["APPLIED"]


async def test_a_payer_who_cancels_may_still_pay_in_another_attempt(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened()
    form = await desk.form(order_id)
    await desk.simulator.cancel(form.url, form.fields, follow_return=False)
    await desk.make_due(order_id)
    async with polling():

        async def declined() -> bool:
            return "payment.declined" in await desk.topics(order_id)

        await until(declined)
        await desk.another(order_id)
        await desk.pay(order_id)
        await desk.make_due(order_id)
        await until(partial(_settled, desk, order_id))


async def test_a_window_ends_by_itself_when_nobody_paid(desk: Desk, polling: Polling) -> None:
    desk.use(grace_s=0.2)
    order_id = await desk.opened(pay_within_s=1)
    async with polling(grace_s=0.2):
        await until(partial(_settled, desk, order_id, "EXPIRED"))
    assert await desk.topics(order_id) == ["payment.opened", "payment.failed"]


async def test_a_poller_that_dies_with_a_claim_loses_only_time(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    await desk.make_due(order_id)
    await desk.simulator.faults(Hang(), op="status", times=1)
    async with polling(gently=False):

        async def asked() -> bool:
            return await _checks(desk, order_id) >= 1

        await until(asked)
    assert await desk.claim() == []  # the lease of the dead one still stands
    await desk.make_due(order_id)  # ... and ends
    async with polling():
        await until(partial(_settled, desk, order_id))


async def test_every_question_is_asked_with_our_own_figures(desk: Desk, polling: Polling) -> None:
    order_id = await desk.opened(total_paisa=147_50)
    await desk.pay(order_id)
    await desk.make_due(order_id)
    async with polling():
        await until(partial(_settled, desk, order_id))
    [attempt] = await desk.attempts(order_id)
    [asked] = await desk.simulator.log(operation="status")
    assert (asked.reference, asked.total_amount, asked.product_code) == (
        attempt["reference"],
        "147.50",
        "EPAYTEST",
    )


async def test_no_more_calls_a_second_than_allowed(desk: Desk, polling: Polling) -> None:
    for _ in range(12):
        await desk.opened()
    await desk.admin.execute("update attempts set next_check_at = now()")
    async with polling(gateway_calls_per_s=5):

        async def all_asked() -> bool:
            return len(await desk.simulator.log(operation="status")) >= 12

        await until(all_asked)
    log = await desk.simulator.log(operation="status")
    assert log[11].at - log[0].at >= 1.5  # 12 calls at 5 a second, of which a second's worth may be saved up


async def test_a_payment_named_for_two_orders_at_once_is_counted_for_one(desk: Desk) -> None:
    first, second = await desk.opened(), await desk.opened()
    batch = []
    for order_id in (first, second):
        [row] = await desk.attempts(order_id)
        batch.append(seen(order_id, row["id"], "esewa", Answer(Paid(TOTAL, "SAME"), 200, "{}", b"{}")))
    await asyncio.gather(*(settle_answers(desk.db, [one], desk.gateways.plan) for one in batch))
    await settle_answers(desk.db, batch, desk.gateways.plan)
    statuses = sorted([str(await desk.status(first)), str(await desk.status(second))])
    assert statuses == ["AWAITING_PAYMENT", "SUCCEEDED"]


async def _look_up(desk: Desk, order_id: UUID) -> Answer:
    [row] = await desk.attempts(order_id)
    asked = Asked(row["reference"], row["merchant_code"], row["amount_paisa"])
    return await desk.gateways.adapters["esewa"].check(asked)


async def test_an_answer_over_64_kib_is_not_read_to_its_end(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    await desk.simulator.faults(Oversized(size_bytes=70_000), op="status")
    assert (await _look_up(desk, order_id)).verdict == Unknown("the answer is too long")
    assert isinstance((await _look_up(desk, order_id)).verdict, Paid)


async def test_nobody_is_followed_elsewhere_even_if_the_truth_is_there(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.pay(order_id)
    [row] = await desk.attempts(order_id)
    query = f"product_code=EPAYTEST&total_amount=349&transaction_uuid={row['reference']}"
    elsewhere = f"{desk.simulator.status_url}?{query}"
    await desk.simulator.faults(Redirect(location=elsewhere), op="status")
    assert (await _look_up(desk, order_id)).verdict == Unknown("HTTP 302")
