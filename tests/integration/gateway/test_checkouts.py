"""The held POST: one call ends with a redirect to pay or with a clear refusal, whatever comes first."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from typing import Any
from uuid import UUID

import pytest

from services.chassis.ids import new_id
from tests.integration.gateway.conftest import Gateway
from tests.integration.gateway.stand import a_checkout, a_json, a_problem, an_intent
from tests.support.waiting import until

ADDRESS = {"name": "S", "phone": "+9779800000001", "line1": "L", "city": "C", "district": "D"}
BODY = {"payment_method": "esewa", "shipping_address": ADDRESS}


def one_after_another(*answers: Any) -> Callable[[object], Any]:  # noqa: ANN401
    """Each answer once, the last for ever."""
    following = chain(answers, repeat(answers[-1]))
    return lambda _: next(following)


def tell(gateway: Gateway, order_id: UUID, stages: Any, intents: Any) -> None:  # noqa: ANN401
    says = gateway.stand.says
    says["POST", "/v1/checkouts"] = a_json(a_checkout(order_id, "reserving"), 201)
    says["GET", f"/v1/checkouts/{order_id}"] = stages
    says["GET", f"/internal/intents/{order_id}"] = intents


async def test_the_answer_waits_for_the_redirect(gateway: Gateway) -> None:
    order_id = new_id()
    tell(
        gateway,
        order_id,
        one_after_another(a_checkout(order_id, "reserving"), a_checkout(order_id, "awaiting_payment", 2)),
        one_after_another(
            a_problem(404, "NOT_FOUND"), an_intent(order_id, None), an_intent(order_id, "open")
        ),
    )
    answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert said["stage"] == "awaiting_payment"
    assert said["payment"]["redirect"]["fields"] == {"signature": "s"}
    assert said["payment"]["retry"] is None
    assert answer.headers["location"] == f"/v1/checkouts/{order_id}"
    assert answer.headers["etag"] == '"2"'
    assert answer.headers["retry-after"] == "1"


async def test_a_rejected_checkout_says_why_line_by_line(gateway: Gateway) -> None:
    order_id = new_id()
    refusals = [{"sku": "kurta-m", "code": "OUT_OF_STOCK"}, {"sku": "sari", "code": "PRODUCT_UNAVAILABLE"}]
    tell(gateway, order_id, a_checkout(order_id, "rejected", refusals=refusals), None)
    answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
    assert answer.status_code == 409
    said = answer.json()
    assert (said["code"], said["checkout_id"]) == ("CHECKOUT_REJECTED", str(order_id))
    assert [(one["pointer"], one["code"]) for one in said["errors"]] == [
        ("/cart/items/kurta-m", "OUT_OF_STOCK"),
        ("/cart/items/sari", "PRODUCT_UNAVAILABLE"),
    ]


async def test_back_pressure_reaches_the_caller_with_when_to_come_again(gateway: Gateway) -> None:
    busy = a_problem(503, "OUTBOX_BACKLOG")
    busy.headers["retry-after"] = "5"
    gateway.stand.says["POST", "/v1/checkouts"] = busy
    answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
    assert (answer.status_code, answer.json()["code"]) == (503, "OUTBOX_BACKLOG")
    assert answer.headers["retry-after"] == "5"


async def test_an_attempt_that_failed_says_where_to_try_again(gateway: Gateway) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, "awaiting_payment"), an_intent(order_id, "failed"))
    answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
    assert answer.status_code == 201
    payment = answer.json()["payment"]
    assert payment == {"method": "esewa", "redirect": None, "retry": f"/v1/checkouts/{order_id}/attempts"}


class TestShortPatience:
    """With a hold of a tenth of a second."""

    @pytest.fixture(autouse=True)
    def _impatient(self, gateway: Gateway) -> None:
        gateway.app.state.settings = gateway.app.state.settings.model_copy(update={"hold_s": 0.1})

    async def test_still_reserving_is_accepted_for_later(self, gateway: Gateway) -> None:
        order_id = new_id()
        tell(gateway, order_id, a_checkout(order_id, "reserving"), None)
        answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
        assert (answer.status_code, answer.json()["stage"]) == (202, "reserving")
        assert answer.headers["location"] == f"/v1/checkouts/{order_id}"

    async def test_payments_that_does_not_answer_hides_no_checkout(self, gateway: Gateway) -> None:
        order_id = new_id()
        tell(
            gateway,
            order_id,
            a_checkout(order_id, "awaiting_payment", 2),
            a_problem(503, "SERVICE_UNAVAILABLE"),
        )
        answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
        assert answer.status_code == 201, answer.text
        assert answer.json()["payment"]["redirect"] is None
        assert answer.json()["payment"]["retry"] == f"/v1/checkouts/{order_id}/attempts"

    async def test_no_attempt_in_time_has_no_redirect_but_a_way_on(self, gateway: Gateway) -> None:
        order_id = new_id()
        tell(gateway, order_id, a_checkout(order_id, "awaiting_payment"), an_intent(order_id, "opening"))
        answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
        assert answer.status_code == 201
        assert answer.json()["payment"]["redirect"] is None
        assert answer.json()["payment"]["retry"] == f"/v1/checkouts/{order_id}/attempts"


@pytest.mark.parametrize("stage", ["confirmed", "cancelled", "expired", "on_hold", "verifying", "processing"])
async def test_a_repeated_post_answers_with_the_present_stage(gateway: Gateway, stage: str) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, stage, 9), None)
    placed = a_json(a_checkout(order_id, stage, 9), 201, Idempotency_Replayed="true")
    gateway.stand.says["POST", "/v1/checkouts"] = placed
    answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
    assert (answer.status_code, answer.json()["stage"]) == (201, stage)
    assert answer.headers["idempotency-replayed"] == "true"
    assert ("retry-after" in answer.headers) == (stage in {"on_hold", "verifying", "processing"})


async def test_a_refusal_of_orders_is_passed_on(gateway: Gateway) -> None:
    errors = [{"pointer": "/x", "code": "C", "detail": "d"}]
    gateway.stand.says["POST", "/v1/checkouts"] = a_problem(422, "CART_EMPTY", errors=errors)
    answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY, idempotency_key="k")
    assert (answer.status_code, answer.json()["code"]) == (422, "CART_EMPTY")
    assert answer.json()["errors"] == errors
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_post_without_a_key_does_not_reach_orders(gateway: Gateway) -> None:
    answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
    assert gateway.stand.heard == []


async def test_what_the_client_may_not_say_is_refused(gateway: Gateway) -> None:
    for field in ("total_paisa", "user_id", "status", "vendor_id"):
        answer = await gateway.customer().ask("POST", "/v1/checkouts", BODY | {field: 1}, idempotency_key="k")
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"pointer": f"/{field}", "code": "UNKNOWN_FIELD", "detail": "Extra inputs are not permitted"}
        ]
    assert gateway.stand.heard == []


async def test_the_body_reaches_orders_byte_for_byte_and_only_the_post_has_the_key(gateway: Gateway) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, "confirmed"), None)
    raw = json.dumps(BODY, indent=3).encode().replace(b'"S"', b'"\xe0\xa4\xa8"')
    person = gateway.customer()
    sent = {
        "authorization": f"Bearer {person.token}",
        "idempotency-key": '"k"',
        "content-type": "application/json",
    }
    await gateway.client.post("/v1/checkouts", content=raw, headers=sent)
    [posted] = gateway.stand.asked("POST", "/v1/checkouts")
    assert posted.body == raw
    assert posted.headers["idempotency-key"] == '"k"'
    [read] = gateway.stand.asked("GET", f"/v1/checkouts/{order_id}")
    assert read.headers["authorization"] == sent["authorization"]
    assert "idempotency-key" not in read.headers


# ---------------------------------------------------------------------------- reading and cancelling


async def test_a_checkout_is_read_with_its_way_to_pay(gateway: Gateway) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, "awaiting_payment", 2), an_intent(order_id))
    person = gateway.customer()
    first = await person.ask("GET", f"/v1/checkouts/{order_id}")
    assert first.json()["payment"]["redirect"]["url"] == "https://pay.test/form"
    again = await person.ask("GET", f"/v1/checkouts/{order_id}", if_none_match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


async def test_a_redirect_that_opened_is_not_hidden_by_the_etag(gateway: Gateway) -> None:
    order_id = new_id()
    intents = one_after_another(
        an_intent(order_id, "opening"), an_intent(order_id, "opening"), an_intent(order_id)
    )
    tell(gateway, order_id, a_checkout(order_id, "awaiting_payment", 2), intents)
    person = gateway.customer()
    first = await person.ask("GET", f"/v1/checkouts/{order_id}")
    assert first.json()["payment"]["redirect"] is None
    again = await person.ask(
        "GET", f"/v1/checkouts/{order_id}", if_none_match=first.headers.get("etag", '"2"')
    )
    assert again.status_code == 200


async def test_somebody_elses_checkout_is_not_there(gateway: Gateway) -> None:
    for path in (f"/v1/checkouts/{new_id()}", f"/v1/checkouts/{new_id()}/events"):
        answer = await gateway.customer().ask("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


async def test_a_cancel_answers_with_the_view(gateway: Gateway) -> None:
    order_id = new_id()
    gateway.stand.says["POST", f"/v1/checkouts/{order_id}/cancel"] = a_checkout(order_id, "cancelled", 3)
    answer = await gateway.customer().ask("POST", f"/v1/checkouts/{order_id}/cancel", if_match='"2"')
    assert (answer.status_code, answer.json()["stage"]) == (200, "cancelled")
    assert gateway.stand.heard[0].headers["if-match"] == '"2"'


# ---------------------------------------------------------------------------- live


async def events_of(gateway: Gateway, path: str, **headers: str) -> list[dict[str, str]]:
    """Every event until the stream ends; comments and blank lines left out."""
    person = gateway.customer()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"authorization": f"Bearer {person.token}"} | named
    found: list[dict[str, str]] = []
    async with asyncio.timeout(10), gateway.client.stream("GET", path, headers=sent) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        block: dict[str, str] = {}
        async for line in stream.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
            elif block:
                found.append(block)
                block = {}
    return found


@pytest.mark.parametrize("last", [None, "1", "99", "nonsense"])
async def test_a_stream_shows_the_present_first_and_ends_with_the_final_stage(
    gateway: Gateway, last: str | None
) -> None:
    order_id = new_id()
    verifying = a_checkout(order_id, "verifying", 3)
    stages = one_after_another(verifying, verifying, a_checkout(order_id, "confirmed", 4))
    tell(gateway, order_id, stages, None)
    headers = {"last_event_id": last} if last else {}
    events = await events_of(gateway, f"/v1/checkouts/{order_id}/events", **headers)
    assert [(one["event"], one["id"], one["retry"]) for one in events] == [
        ("checkout", "3", "2000"),
        ("checkout", "4", "2000"),
    ]
    assert '"stage":"confirmed"' in events[-1]["data"]


async def test_a_stream_of_a_final_checkout_is_one_event(gateway: Gateway) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, "expired", 7), None)
    assert len(await events_of(gateway, f"/v1/checkouts/{order_id}/events")) == 1


async def test_a_gateway_that_stops_ends_its_streams(gateway: Gateway) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, "verifying"), None)
    gateway.app.state.stopping = asyncio.Event()
    reading = asyncio.create_task(events_of(gateway, f"/v1/checkouts/{order_id}/events"))

    async def begun() -> bool:
        return bool(gateway.stand.asked("GET", f"/v1/checkouts/{order_id}"))

    await until(begun, what="the stream has begun")
    gateway.app.state.stopping.set()
    async with asyncio.timeout(10):
        assert len(await reading) >= 1


async def test_a_token_that_ends_closes_the_stream(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, "verifying"), None)
    monkeypatch.setattr("services.gateway.api.events.time", lambda: 10.0**12)
    events = await events_of(gateway, f"/v1/checkouts/{order_id}/events")
    assert [one["event"] for one in events] == ["checkout", "expired"]


async def test_a_sixth_stream_is_refused_and_a_closed_one_makes_room(gateway: Gateway) -> None:
    order_id = new_id()
    tell(gateway, order_id, a_checkout(order_id, "verifying"), None)
    person, path = gateway.customer(), f"/v1/checkouts/{order_id}/events"
    opened: asyncio.Queue[None] = asyncio.Queue()

    async def listen() -> None:
        headers = {"authorization": f"Bearer {person.token}"}
        async with gateway.client.stream("GET", path, headers=headers, timeout=None) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("event"):
                    opened.put_nowait(None)

    listeners = [asyncio.create_task(listen()) for _ in range(5)]
    async with asyncio.timeout(10):
        for _ in listeners:
            await opened.get()
    refused = await person.ask("GET", path)
    assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY_STREAMS")
    listeners.pop().cancel()
    async with asyncio.timeout(10):
        while gateway.app.state.streams.open_of(person.id) == 5:  # noqa: ASYNC110 - the server notices by itself
            await asyncio.sleep(0.02)
    listeners.append(asyncio.create_task(listen()))
    async with asyncio.timeout(10):
        await opened.get()
    for listener in listeners:
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener
