"""Carts and checkouts over HTTP: what customers may do, and what they are told when they may not."""

import asyncio

import pytest

from services.chassis.ids import new_id
from tests.integration.orders.front import CHECKOUT, Front
from tests.integration.orders.world import Orders
from tests.unit.orders import making


async def test_a_cart_sums_a_sku_and_put_replaces_all_its_lines(orders: Orders, front: Front) -> None:
    buyer = front.customer()
    first = await buyer.checks_out(kurta=3)
    assert (await buyer.ask("POST", f"/v1/checkouts/{first['id']}/cancel")).json()["stage"] == "cancelled"
    await orders.as_admin("insert into cart_lines (user_id, sku, quantity) values ($1, 'kurta', 2)", buyer.id)
    assert (await buyer.gets("/v1/cart"))["lines"] == [{"sku": "kurta", "quantity": 5}]

    answer = await buyer.ask("PUT", "/v1/cart/items/kurta", {"quantity": 4})
    assert answer.json()["lines"] == [{"sku": "kurta", "quantity": 4}]
    assert (await buyer.ask("DELETE", "/v1/cart/items/kurta")).json()["lines"] == []


@pytest.mark.parametrize("quantity", [0, -1, 51, 2**31, 2**63, True, "7", 1.0, None])
async def test_a_quantity_is_an_integer_from_1_to_50(front: Front, quantity: object) -> None:
    answer = await front.customer().ask("PUT", "/v1/cart/items/kurta", {"quantity": quantity})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/quantity"


async def test_a_cart_takes_50_skus_and_says_so_at_the_51st(front: Front) -> None:
    buyer = front.customer()
    for number in range(50):
        assert (await buyer.ask("PUT", f"/v1/cart/items/sku-{number}", {"quantity": 1})).is_success
    refused = await buyer.ask("PUT", "/v1/cart/items/sku-50", {"quantity": 1})
    assert (refused.status_code, refused.json()["code"]) == (422, "CART_FULL")
    assert (await buyer.ask("PUT", "/v1/cart/items/sku-7", {"quantity": 2})).is_success


async def test_a_checkout_answers_with_its_stage_and_takes_the_lines(front: Front) -> None:
    buyer = front.customer()
    placed = await buyer.checks_out(kurta=2, topi=1)
    assert placed["stage"] == "reserving"
    assert [(line["sku"], line["quantity"]) for line in placed["lines"]] == [("kurta", 2), ("topi", 1)]
    assert (await buyer.gets("/v1/cart"))["lines"] == []
    assert await buyer.gets(f"/v1/checkouts/{placed['id']}") == placed


async def test_the_same_key_answers_with_the_present_state_of_one_checkout(
    orders: Orders, front: Front
) -> None:
    buyer = front.customer()
    first = await buyer.checks_out(key="one", kurta=2)
    await orders.hear(making.reserved(await orders.read(first["id"])))

    again = await buyer.ask("POST", "/v1/checkouts", CHECKOUT, key="one")
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["id"], again.json()["stage"]) == (first["id"], "awaiting_payment")

    other = await buyer.ask("POST", "/v1/checkouts", {**CHECKOUT, "payment_method": "esewa "}, key="one")
    assert other.status_code == 422
    changed = {**CHECKOUT, "shipping_address": {**CHECKOUT["shipping_address"], "city": "Patan"}}  # type: ignore[dict-item]
    other = await buyer.ask("POST", "/v1/checkouts", changed, key="one")
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_an_empty_cart_is_refused_and_the_refusal_is_replayed(front: Front) -> None:
    buyer = front.customer()
    first = await buyer.ask("POST", "/v1/checkouts", CHECKOUT, key="one")
    assert (first.status_code, first.json()["code"]) == (422, "CART_EMPTY")
    await buyer.ask("PUT", "/v1/cart/items/kurta", {"quantity": 1})
    again = await buyer.ask("POST", "/v1/checkouts", CHECKOUT, key="one")
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("method", ["khalti", "cod"])
async def test_only_esewa_is_offered(front: Front, method: str) -> None:
    answer = await front.customer().ask("POST", "/v1/checkouts", {**CHECKOUT, "payment_method": method})
    assert (answer.status_code, answer.json()["code"]) == (422, "PAYMENT_METHOD_UNAVAILABLE")


@pytest.mark.parametrize("extra", ["price_paisa", "total_paisa", "stage", "customer_id", "vendor_id"])
async def test_nobody_names_a_price_or_an_owner(front: Front, extra: str) -> None:
    answer = await front.customer().ask("POST", "/v1/checkouts", {**CHECKOUT, extra: 1})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "UNKNOWN_FIELD"


async def test_twenty_requests_at_once_for_one_cart_make_one_checkout(orders: Orders, front: Front) -> None:
    buyer = front.customer()
    await buyer.ask("PUT", "/v1/cart/items/kurta", {"quantity": 2})
    answers = await asyncio.gather(*(buyer.ask("POST", "/v1/checkouts", CHECKOUT) for _ in range(20)))
    assert sorted(one.status_code for one in answers) == [201] + [422] * 19
    assert len(await orders.rows("select from checkouts")) == 1


async def test_one_key_twenty_times_at_once_makes_one_checkout(orders: Orders, front: Front) -> None:
    buyer = front.customer()
    await buyer.ask("PUT", "/v1/cart/items/kurta", {"quantity": 2})
    answers = await asyncio.gather(
        *(buyer.ask("POST", "/v1/checkouts", CHECKOUT, key="one") for _ in range(20))
    )
    assert {one.status_code for one in answers} <= {201, 409}
    assert len({one.json()["id"] for one in answers if one.is_success}) == 1
    assert len(await orders.rows("select from checkouts")) == 1


async def test_a_hundred_buyers_at_once_share_a_few_transactions(orders: Orders, front: Front) -> None:
    buyers = [front.customer() for _ in range(100)]
    for buyer in buyers:
        await orders.put(buyer.id, kurta=1)
    answers = await asyncio.gather(*(buyer.ask("POST", "/v1/checkouts", CHECKOUT) for buyer in buyers))
    assert {one.status_code for one in answers} == {201}
    batches = await orders.rows("select count(distinct placed_xid) as n from checkouts")
    assert batches[0]["n"] < 20


async def test_who_looks_at_the_same_moment_sees_his_own_checkout_and_no_other(front: Front) -> None:
    buyers = [front.customer() for _ in range(8)]
    placed = [await buyer.checks_out() for buyer in buyers]
    paths = [f"/v1/checkouts/{one['id']}" for one in placed]
    mine = [buyer.ask("GET", path) for buyer, path in zip(buyers, paths, strict=True)]
    others = [buyer.ask("GET", path) for buyer, path in zip(buyers[1:], paths, strict=False)]
    twice = [buyers[0].ask("GET", paths[0]) for _ in range(3)]
    answers = await asyncio.gather(*mine, *others, *twice)
    assert [one.json().get("id") for one in answers[:8]] == [one["id"] for one in placed]
    assert {one.status_code for one in answers[8:15]} == {404}
    assert {one.json()["id"] for one in answers[15:]} == {placed[0]["id"]}


async def test_a_stranger_does_not_learn_that_a_checkout_exists(front: Front) -> None:
    placed = await front.customer().checks_out()
    stranger = front.customer()
    for method, path in (("GET", ""), ("POST", "/cancel")):
        answer = await stranger.ask(method, f"/v1/checkouts/{placed['id']}{path}")
        missing = await stranger.ask(method, f"/v1/checkouts/{new_id()}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
        assert missing.json()["detail"] == answer.json()["detail"]


async def test_vendors_have_no_cart_and_nobody_without_a_token_has_anything(front: Front) -> None:
    vendor = front.vendor(new_id())
    assert (await vendor.ask("GET", "/v1/cart")).status_code == 403
    assert (await front.client.get("/v1/cart")).status_code == 401


async def test_a_cancelled_checkout_returns_its_lines_and_stays_cancelled(front: Front) -> None:
    buyer = front.customer()
    placed = await buyer.checks_out(kurta=2)
    for _ in range(2):
        answer = await buyer.ask("POST", f"/v1/checkouts/{placed['id']}/cancel")
        assert (answer.status_code, answer.json()["stage"]) == (200, "cancelled")
        assert (await buyer.gets("/v1/cart"))["lines"] == [{"sku": "kurta", "quantity": 2}]


async def test_a_stale_version_cancels_nothing(front: Front) -> None:
    buyer = front.customer()
    placed = await buyer.checks_out()
    path = f"/v1/checkouts/{placed['id']}/cancel"
    assert (await buyer.ask("POST", path, version=9)).status_code == 412
    assert (await buyer.ask("POST", path, version='x"')).status_code == 400
    assert (await buyer.ask("POST", path, version=placed["version"])).status_code == 200


async def test_the_same_state_is_not_sent_twice(front: Front) -> None:
    buyer = front.customer()
    placed = await buyer.checks_out()
    headers = {"authorization": f"Bearer {buyer.token}", "if-none-match": f'"{placed["version"]}"'}
    answer = await front.client.get(f"/v1/checkouts/{placed['id']}", headers=headers)
    assert answer.status_code == 304


async def test_a_busy_row_is_a_quick_refusal(orders: Orders, front: Front) -> None:
    buyer = front.customer()
    placed = await buyer.checks_out()
    async with orders.db.transaction() as tx:
        await tx.execute("select from checkouts where order_id = $1 for update", placed["id"])
        answer = await buyer.ask("POST", f"/v1/checkouts/{placed['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "CONCURRENT_UPDATE")
