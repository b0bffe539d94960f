"""Catalogue and stock over HTTP: what is shown, what is written, what is refused and why."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.chassis.pages import cursor_of
from tests.integration.inventory.front import ADMIN, Caller, Front, open_front
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.examples import OTHER_VENDOR, VENDOR, placed

AS_ADMIN = Caller("admin")
AS_VENDOR = Caller("vendor", VENDOR)
AS_OTHER = Caller("vendor", OTHER_VENDOR)


@pytest.fixture
async def front(shop: Shop, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(shop, tmp_path) as front:
        yield front


def product(*skus: str, vendor_id: UUID = VENDOR, price: int = 1000) -> dict[str, Any]:
    variants = [{"sku": sku, "price_paisa": price} for sku in skus]
    return {"vendor_id": str(vendor_id), "title": "Kurta", "variants": variants}


async def put_vendor(front: Front, vendor_id: UUID = VENDOR) -> None:
    body = {"name": "Vendor", "delivery_charge_paisa": 150}
    assert (await front.ask("PUT", f"/v1/admin/vendors/{vendor_id}", body, as_=AS_ADMIN)).status_code == 200


def refused(answer: Any) -> tuple[int, str]:  # noqa: ANN401 - a response
    return answer.status_code, answer.json()["code"]


# ---------------------------------------------------------------------------- the catalogue


async def test_what_an_admin_puts_on_sale_everybody_sees(front: Front) -> None:
    await put_vendor(front)
    put = await front.ask("PUT", "/v1/admin/products/kurta", product("k-s", "k-m"), as_=AS_ADMIN)
    assert put.status_code == 200

    shown = await front.ask("GET", "/v1/products/kurta")
    assert (
        shown.json()
        == put.json()
        == {
            "slug": "kurta",
            "title": "Kurta",
            "vendor_id": str(VENDOR),
            "variants": [
                {"sku": sku, "price_paisa": 1000, "currency": "NPR", "available": 0} for sku in ("k-m", "k-s")
            ],
        }
    )
    assert (await front.ask("GET", "/v1/products")).json()["data"] == [shown.json()]


async def test_putting_the_same_again_changes_nothing_that_is_shown(front: Front) -> None:
    await put_vendor(front)
    await put_vendor(front)
    first = await front.ask("PUT", "/v1/admin/products/kurta", product("k"), as_=AS_ADMIN)
    second = await front.ask("PUT", "/v1/admin/products/kurta", product("k"), as_=AS_ADMIN)
    assert first.json() == second.json()


async def test_a_variant_that_is_left_out_is_withdrawn_and_comes_back_when_named_again(front: Front) -> None:
    await put_vendor(front)

    async def skus(*named: str) -> list[str]:
        answer = await front.ask("PUT", "/v1/admin/products/kurta", product(*named), as_=AS_ADMIN)
        return [variant["sku"] for variant in answer.json()["variants"]]

    assert await skus("k-s", "k-m") == ["k-m", "k-s"]
    assert await skus("k-m") == ["k-m"]
    assert (await front.ask("GET", "/internal/variants", params={"sku": "k-s"})).json() == {"data": []}
    assert await skus("k-s", "k-m") == ["k-m", "k-s"]


async def test_a_withdrawn_product_is_no_longer_there_and_cannot_be_ordered(front: Front, shop: Shop) -> None:
    await shop.fill(a=5)
    assert (await front.ask("DELETE", "/v1/admin/products/kurta", as_=AS_ADMIN)).status_code == 204

    assert refused(await front.ask("GET", "/v1/products/kurta")) == (404, "NOT_FOUND")
    assert (await front.ask("GET", "/v1/products")).json()["data"] == []
    order = uuid4()
    await shop.hear(placed(order))
    assert await shop.told(order) == [("stock.rejected", 1)]
    assert (await front.ask("DELETE", "/v1/admin/products/kurta", as_=AS_ADMIN)).status_code == 204
    assert refused(await front.ask("DELETE", "/v1/admin/products/none", as_=AS_ADMIN)) == (404, "NOT_FOUND")


async def test_a_product_of_an_unknown_vendor_is_refused(front: Front) -> None:
    answer = await front.ask("PUT", "/v1/admin/products/kurta", product("k"), as_=AS_ADMIN)
    assert refused(answer) == (422, "VENDOR_NOT_FOUND")
    assert answer.json()["errors"][0]["pointer"] == "/vendor_id"


async def test_a_sku_stays_with_its_product(front: Front) -> None:
    await put_vendor(front)
    await front.ask("PUT", "/v1/admin/products/kurta", product("k"), as_=AS_ADMIN)

    answer = await front.ask("PUT", "/v1/admin/products/sari", product("s", "k", price=1), as_=AS_ADMIN)

    assert refused(answer) == (409, "SKU_TAKEN")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/variants/1/sku"]
    assert refused(await front.ask("GET", "/v1/products/sari")) == (404, "NOT_FOUND")
    assert (await front.ask("GET", "/v1/products/kurta")).json()["variants"][0]["price_paisa"] == 1000


async def test_the_list_is_walked_page_by_page_newest_first(front: Front) -> None:
    await put_vendor(front)
    slugs = [f"p{number}" for number in range(7)]
    for slug in slugs:
        await front.ask("PUT", f"/v1/admin/products/{slug}", product(f"{slug}-a", f"{slug}-b"), as_=AS_ADMIN)

    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await front.ask("GET", "/v1/products", params={"limit": 3} | after)).json()
        seen += [one["slug"] for one in page["data"]]
        assert all(len(one["variants"]) == 2 for one in page["data"])
        if not page["has_more"]:
            break
        after = {"after": page["next"]}
    assert seen == slugs[::-1]


async def test_a_forged_cursor_is_refused(front: Front) -> None:
    for forged in ("", "x", "AAAA", "A" * 27, "A" * 30, "é", "A" * 5000, "=" * 27):
        answer = await front.ask("GET", "/v1/products", params={"after": forged})
        assert refused(answer) == (422, "INVALID_CURSOR"), forged


async def test_a_cursor_of_another_list_or_a_limit_given_twice_is_refused(front: Front) -> None:
    foreign = cursor_of(VENDOR, of="orders")
    answer = await front.ask("GET", "/v1/products", params={"after": foreign})
    assert refused(answer) == (422, "INVALID_CURSOR")
    answer = await front.ask("GET", "/v1/products", params={"limit": ["1", "2"]})
    assert refused(answer) == (422, "VALIDATION_FAILED")


async def test_a_page_has_one_to_fifty_products(front: Front) -> None:
    for limit in ("0", "-1", "51", "abc", "1.0", "1_0", " 7", "\u0967", "", "9" * 20):
        answer = await front.ask("GET", "/v1/products", params={"limit": limit})
        assert refused(answer) == (422, "VALIDATION_FAILED"), limit


async def test_a_cart_is_shown_what_is_on_sale_of_its_skus(front: Front, shop: Shop) -> None:
    await shop.fill(a=5, b=1)
    await shop.hear(placed(a=2))
    answer = await front.ask("GET", "/internal/variants", params={"sku": ["a", "none", "b"]})
    known = {"slug": "kurta", "title": "Kurta", "vendor_id": str(VENDOR), "price_paisa": 1000}
    assert answer.json() == {
        "data": [{"sku": "a", **known, "available": 3}, {"sku": "b", **known, "available": 1}]
    }


BAD_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/admin/vendors/" + str(VENDOR), {"name": "", "delivery_charge_paisa": 1}),
    ("/v1/admin/vendors/" + str(VENDOR), {"name": "V", "delivery_charge_paisa": -1}),
    ("/v1/admin/vendors/" + str(VENDOR), {"name": "V", "delivery_charge_paisa": 1.0}),
    ("/v1/admin/vendors/" + str(VENDOR), {"name": "V", "delivery_charge_paisa": "1"}),
    ("/v1/admin/vendors/" + str(VENDOR), {"name": "V", "delivery_charge_paisa": 1, "id": str(VENDOR)}),
    ("/v1/admin/vendors/" + str(VENDOR).upper()[:-1] + "F", {"name": "V", "delivery_charge_paisa": 1}),
    ("/v1/admin/products/kurta", product()),
    ("/v1/admin/products/kurta", product("a", "a")),
    ("/v1/admin/products/kurta", product("a", price=0)),
    ("/v1/admin/products/kurta", product("a", price=2**63)),
    ("/v1/admin/products/kurta", product("")),
    ("/v1/admin/products/kurta", product("a b")),
    ("/v1/admin/products/KURTA", product("a")),
    ("/v1/admin/products/kurta", {**product("a"), "title": "\u0000"}),
    ("/v1/admin/products/kurta", {**product("a"), "vendor_id": VENDOR.hex}),
]


async def test_a_body_that_does_not_fit_is_refused_by_name(front: Front) -> None:
    await put_vendor(front)
    for path, body in BAD_BODIES:
        answer = await front.ask("PUT", path, body, as_=AS_ADMIN)
        assert refused(answer) == (422, "VALIDATION_FAILED"), body
        assert answer.json()["errors"], body
    assert (await front.ask("GET", "/v1/products")).json()["data"] == []


ADMIN_ROUTES = [
    ("PUT", f"/v1/admin/vendors/{VENDOR}"),
    ("PUT", "/v1/admin/products/kurta"),
    ("DELETE", "/v1/admin/products/kurta"),
    ("POST", "/v1/admin/catalogue/imports"),
    ("POST", "/v1/admin/stock/a/adjustments"),
]


async def test_who_keeps_the_catalogue_is_an_admin_and_nobody_else(front: Front) -> None:
    for method, path in [*ADMIN_ROUTES, ("POST", "/v1/vendor/stock/a/adjustments")]:
        assert refused(await front.ask(method, path, {})) == (401, "UNAUTHENTICATED")
        assert refused(await front.ask(method, path, {}, as_=Caller("customer"))) == (403, "FORBIDDEN")
    for method, path in ADMIN_ROUTES:
        assert refused(await front.ask(method, path, {}, as_=AS_VENDOR)) == (403, "FORBIDDEN")


# ---------------------------------------------------------------------------- stock


def adjustment(delta: int, reason: str = "counted") -> dict[str, Any]:
    return {"delta": delta, "reason": reason}


async def test_a_vendor_counts_its_own_goods_and_the_ledger_says_so(front: Front, shop: Shop) -> None:
    await shop.fill(a=5)
    answer = await front.ask("POST", "/v1/vendor/stock/a/adjustments", adjustment(-2), as_=AS_VENDOR)
    assert answer.status_code == 201
    assert answer.json() == {"sku": "a", "on_hand": 3, "reserved": 0, "available": 3, "version": 3}
    assert await shop.rows("""
        select kind, m.delta, reason, made_by from stock_movements m
        join adjustments on adjustments.id = adjustment_id where kind = 'adjusted'
    """) == [("adjusted", -2, "counted", ADMIN)]
    assert await shop.broken_promises() == []


async def test_goods_of_another_vendor_and_of_nobody_look_the_same(front: Front, shop: Shop) -> None:
    await shop.fill(a=5)
    other = await front.ask("POST", "/v1/vendor/stock/a/adjustments", adjustment(1), as_=AS_OTHER)
    nobody = await front.ask("POST", "/v1/vendor/stock/z/adjustments", adjustment(1), as_=AS_OTHER)
    assert refused(other) == refused(nobody) == (404, "NOT_FOUND")
    assert await shop.units() == (5, 0)
    assert (
        await front.ask("POST", "/v1/admin/stock/a/adjustments", adjustment(1), as_=AS_ADMIN)
    ).status_code == 201


async def test_what_is_promised_cannot_be_counted_away(front: Front, shop: Shop) -> None:
    await shop.fill(a=5)
    await shop.hear(placed(a=3))
    refusal = await front.ask("POST", "/v1/vendor/stock/a/adjustments", adjustment(-3), as_=AS_VENDOR)
    assert refused(refusal) == (409, "STOCK_WOULD_GO_NEGATIVE")
    assert await shop.units() == (5, 3)
    allowed = await front.ask("POST", "/v1/vendor/stock/a/adjustments", adjustment(-2), as_=AS_VENDOR)
    assert allowed.json()["available"] == 0


async def test_the_same_request_again_counts_once(front: Front, shop: Shop) -> None:
    await shop.fill(a=5)
    path = "/v1/vendor/stock/a/adjustments"
    answers = [await front.ask("POST", path, adjustment(1), key="k1", as_=AS_VENDOR) for _ in range(3)]
    assert [answer.json()["on_hand"] for answer in answers] == [6, 6, 6]
    other = await front.ask("POST", path, adjustment(2), key="k1", as_=AS_VENDOR)
    assert refused(other) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await shop.units() == (6, 0)


async def test_counts_and_orders_at_once_never_promise_what_is_not_there(front: Front, shop: Shop) -> None:
    await shop.fill(a=50)
    path = "/v1/vendor/stock/a/adjustments"
    await asyncio.gather(
        *(shop.hear(placed(a=2)) for _ in range(20)),
        *(front.ask("POST", path, adjustment(-2), as_=AS_VENDOR) for _ in range(20)),
    )
    on_hand, reserved = await shop.units()
    assert on_hand == reserved
    assert await shop.broken_promises() == []


async def test_an_adjustment_needs_a_number_and_a_reason(front: Front, shop: Shop) -> None:
    await shop.fill(a=5)
    bodies = [adjustment(0), adjustment(10**10), adjustment(1, ""), adjustment(1, "   "), {"delta": 1}]
    for body in [*bodies, {"delta": True, "reason": "x"}, {"delta": "1", "reason": "x"}]:
        answer = await front.ask("POST", "/v1/vendor/stock/a/adjustments", body, as_=AS_VENDOR)
        assert refused(answer) == (422, "VALIDATION_FAILED"), body
    assert await shop.units() == (5, 0)


# ---------------------------------------------------------------------------- importing everything at once

IMPORTS = "/v1/admin/catalogue/imports"


def an_import(products: int = 2, units: int = 5) -> dict[str, Any]:
    return {
        "vendors": [{"id": str(VENDOR), "name": "Vendor", "delivery_charge_paisa": 150}],
        "products": [{"slug": f"p{number}", **product(f"s{number}")} for number in range(products)],
        "stock": [{"sku": f"s{number}", "on_hand_delta": units} for number in range(products)],
    }


async def test_an_import_writes_vendors_products_and_stock_at_once(front: Front, shop: Shop) -> None:
    answer = await front.ask("POST", IMPORTS, an_import(), key="first", as_=AS_ADMIN)
    assert (answer.status_code, answer.json()) == (
        201,
        {"vendors": 1, "products": 2, "variants": 2, "stock": 2},
    )
    again = await front.ask("POST", IMPORTS, an_import(), key="first", as_=AS_ADMIN)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await shop.units("s0") == (5, 0)

    await front.ask("POST", IMPORTS, an_import(), as_=AS_ADMIN)
    await front.ask("POST", IMPORTS, an_import(units=-1), as_=AS_ADMIN)
    kinds = await shop.rows("select kind, delta from stock_movements where sku = 's0' order by id")
    assert kinds == [("opening", 5), ("received", 5), ("adjusted", -1)]
    assert await shop.broken_promises() == []


async def test_every_row_that_does_not_fit_is_named_and_nothing_is_written(front: Front, shop: Shop) -> None:
    await shop.fill(taken=1)
    body = an_import()
    body["products"].append({"slug": "p9", **product("taken")})
    body["stock"] += [{"sku": "none", "on_hand_delta": 1}, {"sku": "s0", "on_hand_delta": -9}]

    answer = await front.ask("POST", IMPORTS, body, as_=AS_ADMIN)

    assert refused(answer) == (422, "VALIDATION_FAILED")
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        ("/products/2/variants/0/sku", "SKU_TAKEN"),
        ("/stock/2/sku", "NOT_FOUND"),
        ("/stock/3/sku", "STOCK_WOULD_GO_NEGATIVE"),
    ]
    assert await shop.rows("select slug from products") == [("kurta",)]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"vendors": []}, "/products/0/vendor_id", "VENDOR_NOT_FOUND"),
    ({"vendors": an_import()["vendors"] * 2}, "/vendors/1/id", "NAMED_TWICE"),
    ({"products": an_import()["products"] * 2}, "/products/2/slug", "NAMED_TWICE"),
    ({"stock": [{"sku": "s0", "on_hand_delta": 0}]}, "/stock/0/on_hand_delta", "NOTHING_TO_DO"),
    ({"stock": [{"sku": "s0", "on_hand_delta": True}]}, "/stock/0/on_hand_delta", "INT_TYPE"),
    ({"prices": []}, "/prices", "UNKNOWN_FIELD"),
]


async def test_an_import_says_what_is_wrong_where(front: Front, shop: Shop) -> None:
    for change, pointer, code in WRONG:
        answer = await front.ask("POST", IMPORTS, an_import() | change, as_=AS_ADMIN)
        assert refused(answer) == (422, "VALIDATION_FAILED")
        first = answer.json()["errors"][0]
        assert (first["pointer"], first["code"]) == (pointer, code)
    assert await shop.rows("select 1 from products") == []


async def test_five_thousand_rows_fit_and_one_more_does_not(front: Front, shop: Shop) -> None:
    most = an_import(products=1666)
    assert 1 + 3 * 1666 == 4999
    answer = await front.ask("POST", IMPORTS, most, as_=AS_ADMIN)
    assert answer.status_code == 201
    assert await shop.rows("select count(*), sum(on_hand) from stock") == [(1666, 8330)]

    most["stock"] += [{"sku": "s0", "on_hand_delta": 1}] * 2
    assert refused(await front.ask("POST", IMPORTS, most, as_=AS_ADMIN)) == (422, "VALIDATION_FAILED")


async def test_only_an_import_may_be_longer_than_other_bodies(front: Front, shop: Shop) -> None:
    await shop.fill(a=5)
    long = adjustment(1, "x" * 70_000)
    assert refused(await front.ask("POST", "/v1/vendor/stock/a/adjustments", long, as_=AS_VENDOR))[0] == 413
    assert refused(await front.ask("POST", IMPORTS, {"x": "x" * 70_000}, as_=AS_ADMIN))[0] == 422
    assert refused(await front.ask("POST", IMPORTS, {"x": "x" * 2**22}, as_=AS_ADMIN))[0] == 413


async def test_two_imports_of_the_same_goods_at_once_both_count(front: Front, shop: Shop) -> None:
    body, backwards = an_import(products=30), an_import(products=30)
    backwards["products"].reverse()
    backwards["stock"].reverse()
    answers = await asyncio.gather(
        *(front.ask("POST", IMPORTS, one, as_=AS_ADMIN) for one in (body, backwards, body, backwards))
    )
    assert [answer.status_code for answer in answers] == [201] * 4
    assert await shop.units("s7") == (20, 0)
    assert await shop.broken_promises() == []
