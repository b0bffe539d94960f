"""Forged, tampered and replayed returns decide nothing; money of another amount waits for a person."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest

from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, eventually
from infra.people import Customer
from tests.e2e.asking import ask, refused, rows
from tests.fakes.esewa.faults import ReturnShape, WrongAmount
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORGED = {
    "a success that never was": ReturnShape(to="success"),
    "signed with another key": ReturnShape(to="success", sign_with="8gBm/:&EnhH.1/p"),
    "its amount changed": ReturnShape(to="success", tamper={"total_amount": "1.0"}),
    "its status changed": ReturnShape(to="success", tamper={"status": "COMPLETED!"}),
    "about another payment": ReturnShape(to="success", tamper={"transaction_uuid": "f" * 32}),
    "our own signature sent back": ReturnShape(to="success", reflected=True),
    "without its signature": ReturnShape(to="success", drop=("signature",)),
    "one field twice": ReturnShape(to="success", duplicate="status"),
    "with nothing in it": ReturnShape(to="success", without_data=True),
}

CHARGES = "select charges.* from charges join attempts on attempts.id = attempt_id where subject_id = $1"
ITEMS = "select 1 from order_items where order_id = $1"
TOLD = "select topic from outbox where key = $1 order by key_seq"


async def placed(scene: Scene, name: str) -> tuple[Customer, dict[str, Any], str]:
    """A buyer, the checkout that is to be paid, and the reference of its attempt."""
    _, sku = await scene.goods(name, price_paisa=64_000, stock=2)
    buyer = scene.customer()
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    return buyer, checkout, checkout["payment"]["redirect"]["fields"]["transaction_uuid"]


async def charged(scene: Scene, checkout: dict[str, Any]) -> int:
    return len(await rows(scene, "payments", CHARGES, UUID(checkout["id"])))


async def told(scene: Scene, checkout: dict[str, Any]) -> list[str]:
    """What payments has said about this checkout."""
    return [row["topic"] for row in await rows(scene, "payments", TOLD, checkout["id"])]


@pytest.mark.parametrize("shape", FORGED.values(), ids=list(FORGED))
async def test_a_forged_return_brings_a_question_and_no_money(scene: Scene, shape: ReturnShape) -> None:
    buyer, checkout, reference = await placed(scene, "forged")
    redirect = checkout["payment"]["redirect"]
    page = await scene.esewa.submit(redirect["url"], redirect["fields"])
    asked = len(await scene.esewa.log(operation="status", reference=reference))
    assert (await scene.esewa.returns(reference, shape))["answers"] == {"303": 1}

    async def asked_since() -> bool:
        return len(await scene.esewa.log(operation="status", reference=reference)) > asked

    await until(asked_since, what="the question at the gateway")
    assert (await buyer.checkout(checkout["id"]))["stage"] in {"awaiting_payment", "verifying"}
    assert await charged(scene, checkout) == 0
    await scene.esewa.finish(page, "pay")
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")
    assert await charged(scene, checkout) == 1


async def test_the_true_return_two_hundred_times_is_one_charge(scene: Scene) -> None:
    buyer, checkout, reference = await placed(scene, "replayed")
    await scene.pay(checkout, follow_return=False)
    sent = await scene.esewa.returns(reference, times=200, at_once=20)
    assert sent["answers"] == {"303": 200}
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")
    again = await scene.esewa.returns(reference, times=5)
    assert again["answers"] == {"303": 5}
    assert await charged(scene, checkout) == 1
    assert (await told(scene, checkout)).count("payment.verified") == 1
    assert len((await buyer.order(checkout["id"]))["items"]) == 1
    questions = await scene.esewa.log(operation="status", reference=reference)
    assert len(questions) < 10, "each return asked the gateway"


@pytest.mark.parametrize("path", ["esewa/{unknown}", "khalti/{known}", "esewa/{known}x", "esewa/%F0%9F%92"])
async def test_a_return_nobody_expects_is_not_found(scene: Scene, path: str) -> None:
    _, _, reference = await placed(scene, "unexpected")
    there = path.format(known=reference, unknown="0" * 32)
    refused(await ask(scene, "GET", f"/v1/payments/return/{there}?data=e30="), 404, "NOT_FOUND")


async def test_another_amount_is_held_and_nothing_ships(scene: Scene) -> None:
    buyer, checkout, reference = await placed(scene, "odd-amount")
    await scene.esewa.faults(WrongAmount(delta_paisa=-100), op="status", ref=reference, times=None)
    await scene.pay(checkout)
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("on_hold"), "on hold")
    assert "payment.held" in await told(scene, checkout)
    assert "payment.verified" not in await told(scene, checkout)
    cases = await scene.admin().call("GET", "/v1/admin/payments/cases?open=true&limit=50")
    [case] = [one for one in cases["data"] if one["subject_id"] == checkout["id"]]
    assert case["reason"] == "mismatch"
    refused(await ask(scene, "GET", f"/v1/orders/{checkout['id']}", buyer.token), 404, "NOT_FOUND")
    assert await rows(scene, "orders", ITEMS, UUID(checkout["id"])) == []


async def test_after_all_that_the_next_payment_goes_through(scene: Scene) -> None:
    buyer, checkout, _ = await placed(scene, "honest")
    await scene.pay(checkout)
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")
