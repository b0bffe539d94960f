"""Faults of time, transport and HTTP: each does to the answer what its name says."""

import httpx2
import orjson
import pytest

from tests.fakes.esewa.faults import (
    Delay,
    Drip,
    ErrorBody,
    Fault,
    Hang,
    Http,
    NoReturn,
    Oversized,
    Redirect,
    Reset,
)
from tests.fakes.esewa.forms import a_form
from tests.integration.fakes.esewa.conftest import Shop

IMPATIENT_S = 0.2


async def uuid_is_used(shop: Shop, reference: str) -> bool:
    """Whether an earlier form took effect: the gateway refuses its uuid a second time."""
    return (await shop.form(a_form(reference))).status_code == 400


async def test_a_late_answer_still_comes(shop: Shop) -> None:
    await shop.simulator.faults(Delay(seconds=0.01, up_to_seconds=0.02), op="status")
    assert (await shop.seen("ref-1"))["status"] == "NOT_FOUND"


@pytest.mark.parametrize("effect", [True, False])
async def test_a_late_form_was_taken_or_was_not(shop: Shop, effect: bool) -> None:  # noqa: FBT001
    await shop.simulator.faults(Delay(seconds=0.01, effect=effect), op="form")
    assert (await shop.form(a_form("ref-1"))).status_code == (302 if effect else 503)
    assert await uuid_is_used(shop, "ref-1") is effect


@pytest.mark.parametrize("effect", [True, False])
async def test_an_answer_never_comes_with_and_without_effect(shop: Shop, effect: bool) -> None:  # noqa: FBT001
    await shop.simulator.faults(Hang(effect=effect), op="form")
    with pytest.raises(httpx2.ReadTimeout):
        await shop.http.post(shop.simulator.form_url, data=a_form("ref-1"), timeout=IMPATIENT_S)
    [entry] = await shop.simulator.log()
    assert (entry.reference, entry.fault) == ("ref-1", "hang")
    assert await uuid_is_used(shop, "ref-1") is effect


async def test_a_payment_may_take_effect_though_its_page_never_answers(shop: Shop) -> None:
    page = await shop.simulator.submit(shop.simulator.form_url, a_form("ref-1"))
    await shop.simulator.faults(Hang(), op="return")
    with pytest.raises(httpx2.ReadTimeout):
        await shop.http.post(f"{page}/pay", timeout=IMPATIENT_S)
    assert [row.status for row in await shop.simulator.truth()] == ["PAID"]


async def test_a_body_drips(shop: Shop) -> None:
    await shop.simulator.faults(Drip(chunk_bytes=16, pause_s=0.005), op="status")
    asked = {"product_code": "EPAYTEST", "total_amount": "110", "transaction_uuid": "ref-1"}
    async with shop.http.stream("GET", shop.simulator.status_url, params=asked) as answer:
        chunks = [chunk async for chunk in answer.aiter_raw()]
    assert len(chunks) > 1
    assert orjson.loads(b"".join(chunks))["status"] == "NOT_FOUND"


async def test_a_connection_is_reset_mid_body_and_the_next_one_works(shop: Shop) -> None:
    await shop.simulator.faults(Reset(), op="status")
    with pytest.raises(httpx2.ReadError):
        await shop.status("ref-1")
    assert (await shop.seen("ref-1"))["status"] == "NOT_FOUND"


async def test_the_port_refuses_connections_during_an_outage_and_answers_after_it(shop: Shop) -> None:
    async with shop.simulator.outage(), httpx2.AsyncClient(trust_env=False) as newcomer:
        with pytest.raises(httpx2.ConnectError):
            await newcomer.get(shop.simulator.status_url)
    assert (await shop.seen("ref-1"))["status"] == "NOT_FOUND"


async def test_an_outage_may_end_by_itself(shop: Shop) -> None:
    control = f"{shop.simulator.control_url}/_sim/outage"
    assert (await shop.http.post(control, json={"seconds": 0.05})).json() == {"accepting": False}
    patient = httpx2.AsyncHTTPTransport(retries=8)
    async with httpx2.AsyncClient(transport=patient, trust_env=False) as caller:
        assert (await caller.get(f"{shop.simulator.base_url}/healthz")).status_code == 200


async def test_an_answer_redirects_to_another_host(shop: Shop) -> None:
    await shop.simulator.faults(Redirect(location="http://elsewhere.invalid/x"), op="status")
    answer = await shop.status("ref-1")
    assert (answer.status_code, answer.headers["location"]) == (302, "http://elsewhere.invalid/x")


@pytest.mark.parametrize(
    ("fault", "status", "start"),
    [
        (Http(status=500), 500, b"<html>"),
        (Http(status=502), 502, b"<html>"),
        (Http(status=503, retry_after_s=7), 503, b"<html>"),
        (Http(status=429, body="empty"), 429, b""),
        (Http(status=403), 403, b"<html>"),
        (Http(status=200), 200, b"<html>"),
        (Http(status=200, body="empty"), 200, b""),
        (ErrorBody(), 200, b'{"code":0,"error_message":"Service is currently unavailable"}'),
        (ErrorBody(status=503, message="Down"), 503, b'{"code":0,"error_message":"Down"}'),
    ],
)
async def test_any_http_answer_can_be_given(shop: Shop, fault: Fault, status: int, start: bytes) -> None:
    await shop.simulator.faults(fault, op="status")
    answer = await shop.status("ref-1")
    assert answer.status_code == status
    assert answer.content.startswith(start)
    assert bool(answer.content) is bool(start)
    if isinstance(fault, Http) and fault.retry_after_s is not None:
        assert answer.headers["retry-after"] == str(fault.retry_after_s)


async def test_json_is_cut_in_half(shop: Shop) -> None:
    await shop.simulator.faults(Http(status=200, body="truncated", effect=True), op="status")
    answer = await shop.status("ref-1")
    assert answer.content.startswith(b'{"product_code"')
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.content)


async def test_json_comes_under_an_error_status(shop: Shop) -> None:
    await shop.simulator.faults(Http(status=500, body="json", effect=True), op="status")
    answer = await shop.status("ref-1")
    assert (answer.status_code, answer.json()["status"]) == (500, "NOT_FOUND")


async def test_a_body_is_oversized_and_still_json(shop: Shop) -> None:
    await shop.simulator.faults(Oversized(size_bytes=1_000_000), op="status")
    answer = await shop.status("ref-1")
    assert len(answer.content) == 1_000_000
    assert answer.json()["status"] == "NOT_FOUND"


async def test_a_fault_of_transport_and_a_fault_of_meaning_may_meet(shop: Shop) -> None:
    page = await shop.simulator.submit(shop.simulator.form_url, a_form("ref-1"))
    await shop.simulator.faults(Delay(seconds=0.01), op="return")
    await shop.simulator.faults(NoReturn(), op="return")
    assert (await shop.simulator.finish(page, "pay")).return_url is None
