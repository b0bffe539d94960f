"""What a stranger may send to the gateway: a coded refusal, nothing half done, and the next one works."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, eventually
from infra.people import ApiError, Customer, Person
from tests.e2e.asking import NEW_CHECKOUT, ask, cart_of, checkout_key, pointers, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

PRICE = 45_000


@dataclass(frozen=True, slots=True)
class Shop:
    """One vendor with one thing on sale, plenty of it."""

    vendor_id: UUID
    sku: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(scene: Scene) -> Shop:
    return Shop(*await scene.goods("plain", price_paisa=PRICE, stock=1_000))


async def test_an_unknown_sku_does_not_get_into_a_cart(scene: Scene) -> None:
    buyer = scene.customer()
    answer = await ask(scene, "PUT", "/v1/cart/items/nobody-sells-this", buyer.token, {"quantity": 1})
    refused(answer, 404, "PRODUCT_UNAVAILABLE")
    assert await cart_of(buyer) == {}


@pytest.mark.parametrize("quantity", [0, -1, 51, 10**9, 2**63, True, "7", 1.0, None, [1], "१०"])
async def test_an_odd_quantity_leaves_the_cart_as_it_was(scene: Scene, shop: Shop, quantity: object) -> None:
    buyer = scene.customer()
    await buyer.wants(shop.sku, 2)
    answer = await ask(scene, "PUT", f"/v1/cart/items/{shop.sku}", buyer.token, {"quantity": quantity})
    assert list(pointers(refused(answer, 422, "VALIDATION_FAILED"))) == ["/quantity"]
    assert await cart_of(buyer) == {shop.sku: 2}


MALFORMED = {
    "nothing closed": b'{"quantity": 1',
    "not a value": b'{"quantity": NaN}',
    "infinite": b'{"quantity": Infinity}',
    "half a character": b'{"quantity": "\\ud800"}',
    "one key twice": b'{"quantity": 1, "quantity": 50}',
    "another encoding": '{"quantity": "é"}'.encode("iso-8859-1"),
    "sixteen bits": '{"quantity": 1}'.encode("utf-16"),
    "a mark in front": b'\xef\xbb\xbf{"quantity": 1}',
    "a deep hole": b"[" * 30_000,
    "a long number": b'{"quantity": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=list(MALFORMED))
async def test_malformed_json_is_named_as_such(scene: Scene, shop: Shop, body: bytes) -> None:
    buyer = scene.customer()
    refused(await ask(scene, "PUT", f"/v1/cart/items/{shop.sku}", buyer.token, body), 400, "INVALID_JSON")
    await buyer.wants(shop.sku, 1)
    assert await cart_of(buyer) == {shop.sku: 1}


async def test_a_body_of_another_kind_is_refused(scene: Scene, shop: Shop) -> None:
    buyer = scene.customer()
    plain = {"content-type": "text/plain"}
    answer = await ask(scene, "PUT", f"/v1/cart/items/{shop.sku}", buyer.token, b'{"quantity": 1}', plain)
    refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


async def test_whoever_sends_two_megabytes_hears_why_they_are_refused(scene: Scene, shop: Shop) -> None:
    buyer = scene.customer()
    await buyer.wants(shop.sku)
    body = NEW_CHECKOUT | {"note": "x" * 2_000_000}
    # Several at once: an answer that a reset overtakes is lost only to a busy sender.
    sent = [ask(scene, "POST", "/v1/checkouts", buyer.token, body, checkout_key()) for _ in range(6)]
    for answer in await asyncio.gather(*sent):
        refused(answer, 413, "BODY_TOO_LARGE")
    assert (await buyer.check_out())["stage"] == "awaiting_payment"


@pytest.mark.parametrize(
    ("extra", "pointer"),
    [
        ({"total_paisa": 1}, "/total_paisa"),
        ({"customer_id": str(uuid4())}, "/customer_id"),
        ({"shipping_address": {**NEW_CHECKOUT["shipping_address"], "a~b/c": 1}}, "/shipping_address/a~0b~1c"),
    ],
)
async def test_an_unknown_field_is_pointed_at(
    scene: Scene, shop: Shop, extra: dict[str, object], pointer: str
) -> None:
    buyer = scene.customer()
    await buyer.wants(shop.sku)
    answer = await ask(scene, "POST", "/v1/checkouts", buyer.token, {**NEW_CHECKOUT, **extra}, checkout_key())
    assert pointers(refused(answer, 422, "VALIDATION_FAILED")) == {pointer: "UNKNOWN_FIELD"}
    assert await cart_of(buyer) == {shop.sku: 1}


async def test_an_empty_cart_cannot_be_checked_out(scene: Scene) -> None:
    buyer = scene.customer()
    answer = await ask(scene, "POST", "/v1/checkouts", buyer.token, NEW_CHECKOUT, checkout_key())
    refused(answer, 422, "CART_EMPTY")
    assert (await buyer.call("GET", "/v1/orders"))["data"] == []


async def test_the_same_sku_put_again_replaces_and_what_came_back_is_summed(scene: Scene, shop: Shop) -> None:
    buyer = scene.customer()
    await buyer.wants(shop.sku, 2)
    await buyer.wants(shop.sku, 3)
    first = await buyer.check_out()
    assert quantities(first) == {shop.sku: 3}
    await buyer.wants(shop.sku, 4)
    await buyer.call("POST", f"/v1/checkouts/{first['id']}/cancel")
    assert await cart_of(buyer) == {shop.sku: 7}
    second = await buyer.check_out()
    assert quantities(second) == {shop.sku: 7}
    assert second["amount_paisa"] == 7 * PRICE + 10_000


def quantities(checkout: dict[str, Any]) -> dict[str, int]:
    return {line["sku"]: line["quantity"] for line in checkout["lines"]}


async def test_a_cart_changed_during_a_checkout_changes_only_the_next_one(scene: Scene, shop: Shop) -> None:
    buyer = scene.customer()
    await buyer.wants(shop.sku, 2)
    first = await buyer.check_out()
    again = await ask(scene, "POST", "/v1/checkouts", buyer.token, NEW_CHECKOUT, checkout_key())
    refused(again, 422, "CART_EMPTY")
    await buyer.wants(shop.sku, 5)
    assert quantities(await buyer.checkout(first["id"])) == {shop.sku: 2}
    second = await buyer.check_out()
    assert quantities(second) == {shop.sku: 5}
    assert quantities(await buyer.checkout(first["id"])) == {shop.sku: 2}


async def test_a_product_withdrawn_before_the_checkout_is_named_and_nothing_is_held(
    scene: Scene, shop: Shop
) -> None:
    _, gone = await scene.goods("gone", price_paisa=1_000, stock=5)
    buyer = scene.customer()
    await buyer.wants(gone, 1)
    await buyer.wants(shop.sku, 3)
    before = await scene.available(shop.sku)
    await scene.admin().call("DELETE", f"/v1/admin/products/{gone}")
    answer = await ask(scene, "POST", "/v1/checkouts", buyer.token, NEW_CHECKOUT, checkout_key())
    problem = refused(answer, 409, "CHECKOUT_REJECTED")
    assert pointers(problem) == {f"/cart/items/{gone}": "PRODUCT_UNAVAILABLE"}
    assert await scene.available(shop.sku) == before
    assert await cart_of(buyer) == {gone: 1, shop.sku: 3}
    await buyer.call("DELETE", f"/v1/cart/items/{gone}")
    assert (await buyer.check_out())["stage"] == "awaiting_payment"


async def test_what_is_somebody_elses_looks_like_what_is_not_there(scene: Scene, shop: Shop) -> None:
    owner, stranger = scene.customer(), scene.customer()
    await owner.wants(shop.sku)
    checkout = await owner.check_out()
    for path in (f"/v1/checkouts/{checkout['id']}", f"/v1/orders/{checkout['id']}"):
        await same_as_not_there(scene, "GET", path, checkout["id"], stranger)
    cancel = f"/v1/checkouts/{checkout['id']}/cancel"
    await same_as_not_there(scene, "POST", cancel, checkout["id"], stranger)
    again = f"/v1/checkouts/{checkout['id']}/attempts"
    await same_as_not_there(scene, "POST", again, checkout["id"], stranger, {"provider": "esewa"})
    assert (await owner.checkout(checkout["id"]))["stage"] == "awaiting_payment"


async def test_an_item_of_another_vendor_looks_like_one_that_is_not_there(scene: Scene, shop: Shop) -> None:
    buyer, stranger, rival = scene.customer(), scene.customer(), scene.vendor(uuid4())
    await buyer.wants(shop.sku)
    item = await bought(scene, buyer)
    move = {"new_status": "processing"}
    path = f"/v1/vendor/items/{item['id']}/status"
    await same_as_not_there(scene, "POST", path, item["id"], rival, move)
    cancel = f"/v1/orders/{item['order_id']}/items/{item['id']}/cancel"
    await same_as_not_there(scene, "POST", cancel, item["id"], stranger, {"reason": "mine now"})
    order = await buyer.order(item["order_id"])
    assert [one["status"] for one in order["items"]] == ["pending"]


async def bought(scene: Scene, buyer: Customer) -> dict[str, Any]:
    """The only item of an order of what is in the cart."""
    checkout = await buyer.check_out()
    await scene.pay(checkout)
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")
    order = await buyer.order(checkout["id"])
    return {**order["items"][0], "order_id": order["id"]}


async def same_as_not_there(
    scene: Scene, method: str, path: str, id_: str, stranger: Person, body: object = None
) -> None:
    """404, and word for word the answer about an id that nobody ever had."""
    known, unknown = path, path.replace(id_, str(uuid4()))
    answers = []
    for one in (known, unknown):
        headers = checkout_key() | {"if-match": '"1"'}
        problem = refused(await ask(scene, method, one, stranger.token, body, headers), 404, "NOT_FOUND")
        answers.append({name: problem[name] for name in problem if name not in ("trace_id", "instance")})
    assert answers[0] == answers[1]


@pytest.mark.parametrize("key", [None, "", "k" * 201, "a\tb", "ключ".encode()])
async def test_a_checkout_without_a_usable_key_is_not_begun(
    scene: Scene, shop: Shop, key: str | bytes | None
) -> None:
    buyer = scene.customer()
    await buyer.wants(shop.sku)
    headers: dict[str, str | bytes] = {} if key is None else {"idempotency-key": key}
    answer = await ask(scene, "POST", "/v1/checkouts", buyer.token, NEW_CHECKOUT, headers)
    refused(answer, 400, "INVALID_IDEMPOTENCY_KEY")
    assert await cart_of(buyer) == {shop.sku: 1}


async def test_a_key_used_again_is_the_same_checkout_and_never_another(scene: Scene, shop: Shop) -> None:
    buyer, key = scene.customer(), checkout_key()
    await buyer.wants(shop.sku)
    first = await ask(scene, "POST", "/v1/checkouts", buyer.token, NEW_CHECKOUT, key)
    await buyer.wants(shop.sku, 9)
    again = await ask(scene, "POST", "/v1/checkouts", buyer.token, NEW_CHECKOUT, key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    elsewhere = NEW_CHECKOUT | {"shipping_address": NEW_CHECKOUT["shipping_address"] | {"city": "Pokhara"}}
    other = await ask(scene, "POST", "/v1/checkouts", buyer.token, elsewhere, key)
    refused(other, 422, "IDEMPOTENCY_KEY_REUSED")
    assert len((await buyer.call("GET", "/v1/orders"))["data"]) == 1
    assert await cart_of(buyer) == {shop.sku: 9}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing-of-the-kind", 404, "NOT_FOUND"),
        ("GET", "/internal/variants?sku=a", 404, "NOT_FOUND"),
        ("PATCH", "/v1/cart", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/orders/not-an-id", 422, "VALIDATION_FAILED"),
        ("GET", "/v1/orders?limit=0", 422, "VALIDATION_FAILED"),
        ("GET", "/v1/orders?after=forged", 422, "INVALID_CURSOR"),
        ("GET", "/v1/vendor/items", 403, "FORBIDDEN"),
        ("GET", "/v1/admin/orders", 403, "FORBIDDEN"),
    ],
)
async def test_a_place_that_is_not_there_or_not_for_customers(
    scene: Scene, method: str, path: str, status: int, code: str
) -> None:
    refused(await ask(scene, method, path, scene.customer().token), status, code)


async def test_a_refused_buyer_says_why_through_the_client_too(scene: Scene) -> None:
    with pytest.raises(ApiError) as caught:
        await scene.customer().check_out()
    assert (caught.value.status, caught.value.code) == (422, "CART_EMPTY")
