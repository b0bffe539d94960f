"""What every route of the gateway has in common: who may come in, what goes on, what comes back."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib import import_module
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from contracts.problems import CATALOGUE, ProblemType
from services.chassis.ids import new_id
from services.gateway.api.forwards import FORWARDS, Forward
from services.gateway.api.pages import FROZEN
from services.gateway.openapi import document, frozen_text
from services.gateway.settings import GatewaySettings
from tests.integration.gateway.conftest import Gateway, app_of
from tests.integration.gateway.stand import Stand, a_json, a_problem
from tests.support.tokens import tokens_in
from tests.support.web import serving

VENDOR_BODY = {"name": "Himal", "delivery_charge_paisa": 0}


async def test_a_row_of_the_table_passes_on_what_was_sent_and_answered(gateway: Gateway) -> None:
    item_id = new_id()
    path = f"/v1/vendor/items/{item_id}/status"
    gateway.stand.says["POST", path] = a_json({"id": "x"}, 200, ETag='"4"', Idempotency_Replayed="true")
    vendor = gateway.person("vendor", vendor_id=new_id())
    body = {"new_status": "shipped"}
    answer = await vendor.ask("POST", path, body, idempotency_key="k", if_match='"3"')
    assert (answer.status_code, answer.json()) == (200, {"id": "x"})
    assert (answer.headers["etag"], answer.headers["idempotency-replayed"]) == ('"4"', "true")
    [heard] = gateway.stand.heard
    assert heard.headers["authorization"] == f"Bearer {vendor.token}"
    assert (heard.headers["idempotency-key"], heard.headers["if-match"]) == ("k", '"3"')


async def test_only_the_query_of_the_table_goes_on(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/v1/orders"] = {"data": []}
    await gateway.customer().ask("GET", "/v1/orders?limit=5&after=abc&customer_id=somebody&admin=1")
    assert gateway.stand.heard[0].query == [("limit", "5"), ("after", "abc")]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=51",
        "limit=abc",
        "limit=1&limit=2",
        "after=a&after=b",
        "after=" + "a" * 501,
    ],
)
async def test_an_odd_query_is_refused_here(gateway: Gateway, query: str) -> None:
    answer = await gateway.customer().ask("GET", f"/v1/orders?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_FAILED")
    assert gateway.stand.heard == []


async def test_what_a_caller_claims_to_be_stays_outside(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/v1/orders"] = {"data": []}
    invented = {
        "x-user-id": str(new_id()),
        "x-role": "admin",
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-host": "evil.test",
        "ce-id": "1",
        "ce_type": "order.finalized",
        "reply_to": "orders",
        "cookie": "a=b",
        "te": "trailers",
        "baggage": "a=b",
    }
    await gateway.customer().ask("GET", "/v1/orders", **invented)
    assert not {name.replace("_", "-") for name in invented} & gateway.stand.heard[0].headers.keys()
    assert not invented.keys() & gateway.stand.heard[0].headers.keys()


async def test_the_trace_goes_on_to_the_service(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/v1/orders"] = {"data": []}
    trace_id = uuid4().hex
    await gateway.customer().ask("GET", "/v1/orders", traceparent=f"00-{trace_id}-{'1' * 16}-01")
    assert gateway.stand.heard[0].headers["traceparent"].split("-")[1] == trace_id


async def test_without_a_trace_one_begins_here_and_a_refusal_names_it(gateway: Gateway) -> None:
    answer = await gateway.customer().ask("GET", f"/v1/checkouts/{new_id()}")
    assert answer.json()["trace_id"] == gateway.stand.heard[0].headers["traceparent"].split("-")[1]


# ---------------------------------------------------------------------------- who may come in


SIGNED_IN = [one for one in FORWARDS if one.roles]


@pytest.mark.parametrize("route", SIGNED_IN, ids=lambda one: f"{one.method} {one.path}")
async def test_a_route_needs_its_role(gateway: Gateway, route: Forward) -> None:
    path = "/v1" + route.path.replace("{sku}", "s").replace("{slug}", "s")
    path = path.replace("{id}", str(new_id())).replace("{item_id}", str(new_id()))
    method = route.method
    anonymous = await gateway.client.request(method, path)
    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "UNAUTHENTICATED")
    stranger = await gateway.person("stylist").ask(method, path, {})
    assert (stranger.status_code, stranger.json()["code"]) == (403, "FORBIDDEN")
    assert gateway.stand.heard == []


async def test_the_catalogue_is_for_anyone(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/v1/products"] = {"data": [], "has_more": False}
    assert (await gateway.client.get("/v1/products")).status_code == 200


async def test_internal_routes_are_not_reachable(gateway: Gateway) -> None:
    for path in ("/internal/variants?sku=a", f"/internal/intents/{new_id()}", "/v1/%2e%2e/internal/variants"):
        answer = await gateway.person("admin").ask("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert gateway.stand.heard == []


@pytest.mark.parametrize("sku", ["..", "%2e%2e", ".", "%2E", "..%2f..", "a" * 201, "%00", "a%0ab"])
async def test_a_path_cannot_climb_out_of_its_place(gateway: Gateway, sku: str) -> None:
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    token = gateway.customer().token
    writer.write(
        f"DELETE /v1/cart/items/{sku} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        heard = await reader.read()
    writer.close()
    assert heard.split()[1] in {b"404", b"422"}
    assert gateway.stand.heard == []


async def test_an_odd_sku_reaches_its_service_as_itself(gateway: Gateway) -> None:
    path = "/v1/cart/items/a%3Fb%23c%20%E0%A4%A8"
    gateway.stand.says["DELETE", path] = {"lines": []}
    assert (await gateway.customer().ask("DELETE", path)).status_code == 200


# ---------------------------------------------------------------------------- services that fail


async def test_a_service_that_is_down_is_a_503(
    settings_for: Callable[..., GatewaySettings], free_port: Callable[[], int]
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with serving(app_of(settings_for(nobody))) as url, httpx2.AsyncClient(base_url=url) as client:
        answer = await client.get("/v1/products")
    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


async def test_another_replica_answers_for_the_one_that_is_down(
    stand: tuple[Stand, str], settings_for: Callable[..., GatewaySettings], free_port: Callable[[], int]
) -> None:
    behind, url = stand
    behind.says["GET", "/v1/products"] = {"data": []}
    settings = settings_for(f"http://127.0.0.1:{free_port()},{url}")
    async with serving(app_of(settings)) as front, httpx2.AsyncClient(base_url=front) as client:
        for _ in range(4):
            assert (await client.get("/v1/products")).status_code == 200
        # Many at once, so that it is another call's turn before one is repeated.
        answers = await asyncio.gather(*(client.get("/v1/products") for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}


@pytest.fixture
def a_host_that_swallows() -> Iterator[str]:
    """Its queue of connections is full: whoever comes next hears neither yes nor no."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        address = full.getsockname()
        with suppress(TimeoutError):
            while True:
                waiting.enter_context(socket.create_connection(address, timeout=0.2))
        yield f"http://127.0.0.1:{address[1]}"


async def test_another_replica_answers_for_one_that_takes_no_connection(
    stand: tuple[Stand, str], settings_for: Callable[..., GatewaySettings], a_host_that_swallows: str
) -> None:
    behind, url = stand
    behind.says["GET", "/v1/products"] = {"data": []}
    settings = settings_for(f"{a_host_that_swallows},{url}")
    async with serving(app_of(settings)) as front, httpx2.AsyncClient(base_url=front) as client:
        answers = [await client.get("/v1/products") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_service_that_hangs_is_a_503(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.upstreams.TOTAL_S", 0.1)
    gateway.stand.says["GET", "/v1/products"] = lambda _: asyncio.sleep(5, {})
    answer = await gateway.client.get("/v1/products")
    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")


@pytest.mark.parametrize(
    "nonsense",
    [
        Response("<html>", media_type="text/html"),
        Response("Internal Server Error", 500, media_type="text/plain"),
        Response("", 302, {"location": "https://evil.test"}, "text/html"),
    ],
    ids=["a page", "a crash", "a redirect"],
)
async def test_nonsense_from_a_service_is_not_passed_on(gateway: Gateway, nonsense: Response) -> None:
    gateway.stand.says["GET", "/v1/products"] = nonsense
    answer = await gateway.client.get("/v1/products")
    assert answer.status_code == 502
    assert "evil" not in str(answer.headers)
    assert "<html>" not in answer.text


async def test_a_composed_route_refuses_an_answer_it_cannot_read(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/v1/cart"] = {"lines": "many"}
    answer = await gateway.customer().ask("GET", "/v1/cart")
    assert (answer.status_code, answer.json()["code"]) == (502, "UPSTREAM_INVALID")


@pytest.mark.parametrize(
    ("status", "code"), [(409, "CONCURRENT_UPDATE"), (412, "STALE"), (503, "SERVICE_UNAVAILABLE")]
)
async def test_a_problem_of_a_service_is_ours(gateway: Gateway, status: int, code: str) -> None:
    gateway.stand.says["GET", "/v1/cart"] = a_problem(status, code)
    answer = await gateway.customer().ask("GET", "/v1/cart")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["instance"] == "/v1/cart"


# ---------------------------------------------------------------------------- quota, CORS, documents


async def test_a_customer_has_so_many_requests_a_minute(
    stand: tuple[Stand, str], settings_for: Callable[..., GatewaySettings]
) -> None:
    behind, url = stand
    behind.says["GET", "/v1/orders"] = {"data": []}
    app = app_of(settings_for(url, customer_per_minute=3))
    async with serving(app) as front, httpx2.AsyncClient(base_url=front) as client:
        gateway = Gateway(front, client, app, behind, tokens_in(app.state.settings.jwks_file.parent).issuer)
        person = gateway.customer()
        answers = [await person.ask("GET", "/v1/orders") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
        assert answers[0].headers["ratelimit"].startswith('"default";r=2;t=')
        assert answers[3].json()["type"] == "/problems/quota-exceeded"
        assert 1 <= int(answers[3].headers["retry-after"]) <= 60
        assert (await gateway.customer().ask("GET", "/v1/orders")).status_code == 200  # another one's own
        assert (await gateway.person("customer", "admin").ask("GET", "/v1/orders")).headers[
            "ratelimit-policy"
        ] == '"default";q=10000;w=60'


async def test_only_named_origins_may_read_answers(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/v1/products"] = {"data": []}
    ours = await gateway.client.get("/v1/products", headers={"origin": "https://shop.test"})
    assert ours.headers["access-control-allow-origin"] == "https://shop.test"
    assert "Idempotency-Replayed" in ours.headers["access-control-expose-headers"]
    other = await gateway.client.get("/v1/products", headers={"origin": "https://evil.test"})
    assert "access-control-allow-origin" not in other.headers
    asked = {"origin": "https://shop.test", "access-control-request-method": "PUT"}
    assert (await gateway.client.options("/v1/cart", headers=asked)).status_code == 200


async def test_every_problem_type_leads_to_a_page(gateway: Gateway) -> None:
    for code, kind in CATALOGUE.items():
        answer = await gateway.client.get(f"/problems/{ProblemType.slug(code)}")
        assert answer.json() == {"code": code, "status": kind.status, "title": kind.title}
    assert (await gateway.client.get("/problems/none-such")).status_code == 404


async def test_the_frozen_document_is_served(gateway: Gateway) -> None:
    answer = await gateway.client.get("/v1/openapi.json")
    assert answer.content == FROZEN.read_bytes()


def test_the_frozen_document_is_current() -> None:
    assert FROZEN.read_bytes() == frozen_text(), "run python -m services.gateway.openapi"


def test_every_operation_documents_its_refusals_and_who_may_ask() -> None:
    found = document()
    problem = {"$ref": "#/components/schemas/ProblemDocument"}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            refused = operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
            assert refused == problem, (method, path)
            assert "security" in operation, (method, path)
            assert operation["operationId"]
            if path.endswith("/events"):
                assert "itemSchema" in operation["responses"]["200"]["content"]["text/event-stream"]
            schemas = [name.rpartition("/")[2] for name in _references(operation)]
            assert set(schemas) <= found["components"]["schemas"].keys()


@pytest.mark.parametrize("service", ["orders", "inventory", "payments"])
def test_every_route_of_a_service_has_its_door(service: str) -> None:
    ours = operations_of("gateway")
    theirs = {one for one in operations_of(service) if not one[1].startswith("/internal/")}
    assert theirs <= ours


def operations_of(service: str) -> set[tuple[str, str]]:
    """The (method, path) of every operation; the names in the braces do not matter."""
    app = FastAPI()
    app.include_router(import_module(f"services.{service}.api").router)
    paths = app.openapi()["paths"]
    return {(method, re.sub(r"{\w+}", "{}", path)) for path, found in paths.items() for method in found}


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for one in value.values() for found in _references(one)]
    if isinstance(value, list):
        return [found for one in value for found in _references(one)]
    return []


# ---------------------------------------------------------------------------- cart and browser returns


async def test_the_cart_shows_what_inventory_says_of_each_line(gateway: Gateway) -> None:
    vendor = str(new_id())
    gateway.stand.says["GET", "/v1/cart"] = {
        "lines": [{"sku": "kurta-m", "quantity": 2}, {"sku": "gone", "quantity": 1}]
    }
    offer = {
        "sku": "kurta-m",
        "slug": "kurta",
        "title": "Kurta",
        "vendor_id": vendor,
        "price_paisa": 150_000,
        "available": 5,
    }
    gateway.stand.says["GET", "/internal/variants"] = {"data": [offer]}
    said = (await gateway.customer().ask("GET", "/v1/cart")).json()
    assert said["lines"][0] == offer | {"quantity": 2, "on_sale": True}
    assert (said["lines"][1]["sku"], said["lines"][1]["on_sale"]) == ("gone", False)
    assert (said["subtotal_paisa"], said["currency"]) == (300_000, "NPR")
    [asked] = gateway.stand.asked("GET", "/internal/variants")
    assert asked.query == [("sku", "gone"), ("sku", "kurta-m")]


async def test_an_empty_cart_asks_inventory_nothing(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/v1/cart"] = {"lines": []}
    assert (await gateway.customer().ask("GET", "/v1/cart")).json()["lines"] == []
    assert gateway.stand.asked("GET", "/internal/variants") == []


async def test_a_sku_nobody_sells_does_not_get_into_the_cart(gateway: Gateway) -> None:
    gateway.stand.says["GET", "/internal/variants"] = {"data": []}
    answer = await gateway.customer().ask("PUT", "/v1/cart/items/none", {"quantity": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "PRODUCT_UNAVAILABLE")
    assert gateway.stand.asked("PUT", "/v1/cart/items/none") == []


@pytest.mark.parametrize("quantity", [0, -1, 51, 10**9, 2**63, 1.0, "1", True, None])
async def test_an_odd_quantity_does_not_get_into_the_cart(gateway: Gateway, quantity: object) -> None:
    answer = await gateway.customer().ask("PUT", "/v1/cart/items/kurta-m", {"quantity": quantity})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/quantity")
    assert gateway.stand.heard == []


async def test_a_browser_that_comes_back_is_sent_to_the_status_page(gateway: Gateway) -> None:
    order_id = new_id()
    path = "/v1/payments/return/esewa/abc123"
    gateway.stand.says["GET", path] = {"subject_id": str(order_id)}
    answer = await gateway.client.get(f"{path}?data=e30%3D&data=second")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"https://shop.test/checkouts/{order_id}",
    )
    [heard] = gateway.stand.heard
    assert heard.query == [("data", "e30="), ("data", "second")]
    assert "authorization" not in heard.headers
    told = await gateway.client.get(path, headers={"accept": "application/json"})
    assert (told.status_code, told.json()) == (202, {"status_url": f"https://shop.test/checkouts/{order_id}"})


async def test_a_return_nobody_knows_is_not_found(gateway: Gateway) -> None:
    answer = await gateway.client.get("/v1/payments/return/esewa/forged?data=x")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


async def test_admin_writes_reach_inventory(gateway: Gateway) -> None:
    vendor_id = new_id()
    path = f"/v1/admin/vendors/{vendor_id}"
    gateway.stand.says["PUT", path] = VENDOR_BODY | {"id": str(vendor_id)}
    assert (await gateway.person("admin").ask("PUT", path, VENDOR_BODY)).status_code == 200
    refused = await gateway.person("admin").ask("PUT", path, VENDOR_BODY | {"rating": 5})
    assert refused.json()["errors"][0]["pointer"] == "/rating"
    assert len(gateway.stand.heard) == 1


# ---------------------------------------------------------------------------- the health of all services

HEALTH = ("GET", "/internal/health/business")


async def test_operators_see_the_numbers_of_all_services_side_by_side(gateway: Gateway) -> None:
    gateway.stand.says[HEALTH] = {"ok": True, "stuck": {"windows": 0}}
    answer = await gateway.person("operator").ask("GET", "/v1/admin/health")
    assert answer.status_code == 200
    well = {"ok": True, "stuck": {"windows": 0}}
    assert answer.json() == {"ok": True, "services": dict.fromkeys(("orders", "inventory", "payments"), well)}
    assert len(gateway.stand.asked(*HEALTH)) == 3
    assert (await gateway.customer().ask("GET", "/v1/admin/health")).status_code == 403


@pytest.mark.parametrize("said", [a_problem(503, "SERVICE_UNAVAILABLE"), {"ok": False}, {}])
async def test_all_is_well_only_if_every_service_says_so(gateway: Gateway, said: object) -> None:
    gateway.stand.says[HEALTH] = said
    answer = await gateway.person("admin").ask("GET", "/v1/admin/health")
    assert answer.status_code == 200
    assert answer.json()["ok"] is False
    assert [one["ok"] for one in answer.json()["services"].values()] == [False] * 3
