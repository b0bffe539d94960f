"""Payments over HTTP: payers, browsers that come back, and the desk of the admins."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from services.chassis.ids import new_id
from services.payments.verdicts import Declined, Mismatch
from tests.fakes.esewa.faults import ReturnShape
from tests.integration.payments.conftest import Polling
from tests.integration.payments.desk import TOTAL, Desk, cancelled, finalized, item_cancelled, reserved
from tests.integration.payments.front import Front, open_front
from tests.support.waiting import until

ADMIN_PATH = "/v1/admin/payments"


@pytest.fixture
async def front(desk: Desk, polling: Polling, tmp_path: Path) -> AsyncIterator[Front]:
    """The service as callers meet it, its poller woken only by returns."""
    async with polling(poll_every_s=60.0) as runtime, open_front(desk, runtime, tmp_path) as opened:
        yield opened


async def _intent(desk: Desk) -> tuple[UUID, UUID]:
    event = reserved()
    await desk.open(event)
    return event.order_id, event.customer_id


async def test_the_payer_is_shown_the_form_and_nobody_else_is(desk: Desk, front: Front) -> None:
    order_id, customer_id = await _intent(desk)
    path = f"/internal/intents/{order_id}"
    shown = (await front.ask("GET", path, who=customer_id)).json()
    assert (shown["state"], shown["amount_paisa"], shown["attempt"]["state"]) == ("open", TOTAL, "open")
    assert shown["attempt"]["redirect"]["method"] == "POST"
    assert (await front.ask("GET", path, who=new_id())).status_code == 404
    assert (await front.ask("GET", path)).status_code == 401
    assert (await front.ask("GET", path, who=new_id(), role="service")).status_code == 200
    assert (await front.ask("GET", f"/internal/intents/{new_id()}", who=customer_id)).status_code == 404


async def test_a_payment_from_form_to_verified_over_the_browser(desk: Desk, front: Front) -> None:
    desk.use(public_url=str(front.client.base_url))
    order_id, customer_id = await _intent(desk)
    shown = (await front.ask("GET", f"/internal/intents/{order_id}", who=customer_id)).json()
    redirect = shown["attempt"]["redirect"]
    result = await desk.simulator.pay(redirect["url"], redirect["fields"])
    assert result.return_status == 200

    async def paid() -> bool:
        return await desk.status(order_id) == "SUCCEEDED"

    await until(paid, within_s=10)
    [evidence] = await desk.admin.fetch("select * from gateway_observations where kind = 'return'")
    assert evidence["verdict"] == "Signed"
    after = (await front.ask("GET", f"/internal/intents/{order_id}", who=customer_id)).json()
    assert after["state"] == "succeeded"
    assert after["attempt"]["redirect"] is None


FORGED = [
    ReturnShape(to="success"),
    ReturnShape(to="failure"),
    ReturnShape(to="success", reflected=True),
    ReturnShape(to="success", reordered=True),
    ReturnShape(to="success", sign_with="guessed"),
    ReturnShape(to="success", tamper={"total_amount": "1.0"}),
    ReturnShape(to="success", duplicate="status"),
    ReturnShape(to="success", extra={"admin": "1"}),
]


@pytest.mark.parametrize("shape", FORGED, ids=lambda shape: shape.model_dump_json(exclude_defaults=True))
async def test_a_return_without_money_moves_nothing(desk: Desk, front: Front, shape: ReturnShape) -> None:
    desk.use(public_url=str(front.client.base_url))
    order_id, _ = await _intent(desk)
    form = await desk.form(order_id)
    await desk.simulator.submit(form.url, form.fields)
    [attempt] = await desk.attempts(order_id)
    answers = await desk.simulator.returns(attempt["reference"], shape)
    assert answers["answers"] == {"200": 1}

    async def asked() -> bool:
        return bool(await desk.simulator.log(operation="status", reference=attempt["reference"]))

    await until(asked, within_s=10)
    assert await desk.status(order_id) == "AWAITING_PAYMENT"
    assert await desk.kinds(order_id) == []


@pytest.mark.parametrize("data", ["", "x" * 9000, "%00", "a?data=b", "٣"])
async def test_any_payload_gets_the_same_neutral_answer(desk: Desk, front: Front, data: str) -> None:
    order_id, _ = await _intent(desk)
    [attempt] = await desk.attempts(order_id)
    path = f"/v1/payments/return/esewa/{attempt['reference']}"
    answer = await front.client.get(path, params={"data": data})
    assert answer.json() == {"subject_id": str(order_id), "subject_kind": "order"}
    assert (await front.client.get(path)).json() == answer.json()


@pytest.mark.parametrize("reference", ["0" * 32, "x", "../../etc", "%00" * 10, "9" * 300])
async def test_an_unknown_reference_is_nothing(desk: Desk, front: Front, reference: str) -> None:
    assert await desk.status(new_id()) is None
    assert (await front.client.get(f"/v1/payments/return/esewa/{reference}")).status_code == 404
    assert (await front.client.get(f"/v1/payments/return/paypal/{'0' * 32}")).status_code == 404


async def test_paying_again_asks_about_the_first_attempt_before_it_opens_another(
    desk: Desk, front: Front
) -> None:
    order_id, customer_id = await _intent(desk)
    path, body = f"/v1/checkouts/{order_id}/attempts", {"provider": "esewa"}
    opened = await front.ask("POST", path, body, who=customer_id, key="k1")
    assert opened.status_code == 201
    assert (
        opened.json()["redirect"]["fields"]["transaction_uuid"]
        != (await desk.attempts(order_id))[0]["reference"]
    )
    again = await front.ask("POST", path, body, who=customer_id, key="k1")
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (opened.json(), "true")
    assert len(await desk.attempts(order_id)) == 2
    await desk.pay(order_id, 0)
    await desk.admin.execute("update attempts set answered_at = answered_at - interval '1 min'")
    refused = await front.ask("POST", path, body, who=customer_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "ATTEMPT_NOT_ALLOWED")
    assert await desk.status(order_id) == "SUCCEEDED"


async def test_paying_again_is_refused_to_others_late_and_with_other_methods(
    desk: Desk, front: Front
) -> None:
    order_id, customer_id = await _intent(desk)
    path, body = f"/v1/checkouts/{order_id}/attempts", {"provider": "esewa"}
    assert (await front.ask("POST", path, body, who=new_id())).status_code == 404
    khalti = await front.ask("POST", path, {"provider": "khalti"}, who=customer_id)
    assert (khalti.status_code, khalti.json()["code"]) == (422, "PAYMENT_METHOD_UNAVAILABLE")
    price = await front.ask("POST", path, body | {"amount_paisa": 1}, who=customer_id)
    assert price.status_code == 422
    await desk.admin.execute(
        "update intents set pay_by = now() + interval '299 s', close_at = now() + interval '1 h'"
    )
    late = await front.ask("POST", path, body, who=customer_id)
    assert (late.status_code, late.json()["code"]) == (409, "ATTEMPT_NOT_ALLOWED")


async def test_a_gateway_that_does_not_answer_does_not_keep_the_payer_waiting(
    desk: Desk, front: Front
) -> None:
    order_id, customer_id = await _intent(desk)
    async with desk.simulator.outage():
        opened = await front.ask(
            "POST", f"/v1/checkouts/{order_id}/attempts", {"provider": "esewa"}, who=customer_id
        )
    assert opened.status_code == 201


async def test_an_admin_completes_a_refund_with_evidence(desk: Desk, front: Front) -> None:
    order_id, _ = await _intent(desk)
    await desk.answer(order_id, desk.paid())
    order = finalized(order_id)
    await desk.finalize(order)
    await desk.cancel_items(item_cancelled(order))
    [refund] = (await front.admin("GET", f"{ADMIN_PATH}/refunds", params={"state": "MANUAL_PENDING"})).json()[
        "data"
    ]
    path = f"{ADMIN_PATH}/refunds/{refund['id']}/complete"
    assert (await front.admin("POST", path, {"evidence_ref": " "})).status_code == 422
    done = await front.admin("POST", path, {"evidence_ref": "PORTAL-7", "note": "by hand"})
    assert (done.status_code, done.json()["state"], done.json()["evidence_ref"]) == (
        200,
        "SUCCEEDED",
        "PORTAL-7",
    )
    same = await front.admin("POST", path, {"evidence_ref": "PORTAL-7"})
    other = await front.admin("POST", path, {"evidence_ref": "PORTAL-8"})
    assert (same.status_code, other.status_code) == (200, 409)
    assert (await desk.topics(order_id)).count("payment.refunded") == 1
    assert (
        await front.admin("POST", f"{ADMIN_PATH}/refunds/{new_id()}/complete", {"evidence_ref": "x"})
    ).status_code == 404


async def test_a_mismatch_is_refunded_by_decision_and_its_case_closes_with_the_proof(
    desk: Desk, front: Front
) -> None:
    order_id, _ = await _intent(desk)
    await desk.answer(order_id, Mismatch("less", 1_00, "T-odd"))
    [case] = (await front.admin("GET", f"{ADMIN_PATH}/cases", params={"open": "true"})).json()["data"]
    assert (await front.admin("POST", f"{ADMIN_PATH}/cases/{case['id']}/refund")).status_code == 200
    assert (await front.admin("POST", f"{ADMIN_PATH}/cases/{case['id']}/refund")).status_code == 200
    [refund] = await desk.rows("refunds", order_id)
    await desk.refund_done(order_id, refund["id"])
    assert (await front.admin("GET", f"{ADMIN_PATH}/cases", params={"open": "true"})).json()["data"] == []
    assert (await desk.topics(order_id))[-2:] == ["payment.refunded", "payment.held"]


async def test_a_reversal_is_upheld_once_the_order_is_done(desk: Desk, front: Front) -> None:
    order_id, _ = await _intent(desk)
    await desk.answer(order_id, desk.paid())
    await desk.answer(order_id, Declined())
    [case] = await desk.rows("review_cases", order_id)
    path = f"{ADMIN_PATH}/cases/{case['id']}/uphold"
    early = await front.admin("POST", path)
    assert (early.status_code, early.json()["code"]) == (409, "INVALID_TRANSITION")
    await desk.cancel(cancelled(order_id))
    assert (await front.admin("POST", path)).json()["open"] is False
    assert (await front.admin("POST", path)).json()["code"] == "REVIEW_CASE_CLOSED"
    assert [row["status"] for row in await desk.rows("refunds", order_id)] == ["REJECTED"]


async def test_an_admin_verifies_again_and_nobody_else_may(desk: Desk, front: Front) -> None:
    order_id, customer_id = await _intent(desk)
    await desk.pay(order_id)
    [attempt] = await desk.attempts(order_id)
    path = f"{ADMIN_PATH}/attempts/{attempt['id']}/verify"
    assert (await front.ask("POST", path, who=customer_id)).status_code == 403
    verified = await front.admin("POST", path)
    assert verified.json() == {"attempt_id": str(attempt["id"]), "verdict": "Paid", "state": "CONFIRMED"}
    for path in ("refunds", "cases"):
        assert (await front.ask("GET", f"{ADMIN_PATH}/{path}", who=customer_id)).status_code == 403


async def test_a_return_replayed_at_once_asks_once(desk: Desk, front: Front) -> None:
    order_id, _ = await _intent(desk)
    desk.use(public_url=str(front.client.base_url))
    form = await desk.form(order_id)
    await desk.simulator.pay(form.url, form.fields, follow_return=False)
    [attempt] = await desk.attempts(order_id)
    await desk.simulator.returns(attempt["reference"], times=200, at_once=20)

    async def paid() -> bool:
        return await desk.status(order_id) == "SUCCEEDED"

    await until(paid, within_s=10)
    assert (await desk.topics(order_id)).count("payment.verified") == 1
    assert await desk.admin.fetchval("select count(*) from charges") == 1
    assert len(await desk.simulator.log(operation="status")) <= 3
