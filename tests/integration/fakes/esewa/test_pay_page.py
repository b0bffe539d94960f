"""The pay page: money moves once, and the browser is told where to go."""

import base64
from urllib.parse import parse_qs, urlsplit

import httpx2
import orjson
import pytest

from tests.fakes.esewa import PayResult, Profile, RefusedError, Simulator
from tests.fakes.esewa.forms import a_form
from tests.fakes.esewa.signing import PUBLIC_TEST_KEY, RETURN_FIELDS, sign
from tests.integration.fakes.esewa.conftest import Merchant


def payload(result: PayResult) -> dict[str, str | float]:
    assert result.return_url is not None
    content: dict[str, str | float] = orjson.loads(
        base64.b64decode(result.return_url.rpartition("?data=")[2])
    )
    return content


async def test_a_payer_behind_published_ports_reaches_what_the_form_names(
    simulator: Simulator, merchant: Merchant
) -> None:
    gateway, shop = "http://gateway.invalid:8701", "http://shop.invalid:8080"
    published = {gateway: simulator.base_url, shop: merchant.url}
    async with Simulator(simulator.base_url, simulator.control_url, published=published) as payer:
        form = payer.form_url.replace(payer.base_url, gateway)
        result = await payer.pay(form, a_form("ref-1", merchant_url=shop))
    assert (result.status, result.return_status) == ("PAID", 303)
    assert [shop + visit for visit in merchant.visits] == [result.return_url]


async def test_paying_moves_money_and_sends_a_signed_return(simulator: Simulator, merchant: Merchant) -> None:
    result = await simulator.pay(simulator.form_url, a_form("ref-1", "147.50", merchant_url=merchant.url))
    assert (result.status, result.return_status, result.return_location) == ("PAID", 303, "/thanks")
    assert [merchant.url + visit for visit in merchant.visits] == [result.return_url]
    told = {str(name): str(value) for name, value in payload(result).items()}
    assert told.pop("signature") == sign(told, RETURN_FIELDS, PUBLIC_TEST_KEY)
    assert told == {
        "transaction_code": result.ref_id,
        "status": "COMPLETE",
        "total_amount": "147.5",
        "transaction_uuid": "ref-1",
        "product_code": "EPAYTEST",
        "signed_field_names": ",".join(RETURN_FIELDS),
    }
    [row] = await simulator.truth()
    assert (row.reference, row.product_code, row.amount_paisa) == ("ref-1", "EPAYTEST", 14_750)
    assert (row.ref_id, row.status) == (result.ref_id, "PAID")
    assert row.paid_at is not None


async def test_a_closed_tab_moves_money_and_tells_nobody(simulator: Simulator, merchant: Merchant) -> None:
    fields = a_form("ref-1", merchant_url=merchant.url)
    result = await simulator.pay(simulator.form_url, fields, follow_return=False)
    assert (result.status, result.return_status, merchant.visits) == ("PAID", None, [])


async def test_a_return_nobody_answers_is_no_error_of_the_payer(simulator: Simulator) -> None:
    result = await simulator.pay(simulator.form_url, a_form("ref-1"))
    assert (result.status, result.return_status) == ("PAID", None)
    assert result.return_error is not None


async def test_cancelling_leads_to_the_failure_url_without_data(
    simulator: Simulator, merchant: Merchant
) -> None:
    result = await simulator.cancel(simulator.form_url, a_form("ref-1", merchant_url=merchant.url))
    assert (result.status, result.ref_id, merchant.visits) == ("CANCELED", None, ["/failure/ref-1"])
    [row] = await simulator.truth()
    assert (row.status, row.ref_id, row.paid_at) == ("CANCELED", None, None)


async def test_one_who_left_may_come_back_and_pay(simulator: Simulator) -> None:
    page = await simulator.submit(simulator.form_url, a_form("ref-1"))
    left = await simulator.finish(page, "leave", follow_return=False)
    assert (left.status, left.return_url) == ("LEFT", a_form("ref-1")["failure_url"])
    assert await simulator.truth() == []
    assert (await simulator.finish(page, "pay", follow_return=False)).status == "PAID"


async def test_clicking_twice_pays_once(simulator: Simulator) -> None:
    page = await simulator.submit(simulator.form_url, a_form("ref-1"))
    first = await simulator.finish(page, "pay", follow_return=False)
    assert await simulator.finish(page, "pay", follow_return=False) == first
    assert await simulator.finish(page, "cancel", follow_return=False) == first
    assert len(await simulator.truth()) == 1


async def test_a_cancelled_page_cannot_be_paid(simulator: Simulator) -> None:
    page = await simulator.submit(simulator.form_url, a_form("ref-1"))
    await simulator.finish(page, "cancel", follow_return=False)
    assert (await simulator.finish(page, "pay", follow_return=False)).status == "CANCELED"


async def test_after_its_time_a_page_takes_no_money(simulator: Simulator) -> None:
    page = await simulator.submit(simulator.form_url, a_form("ref-1"))
    await simulator.clock(advance_s=301)
    with pytest.raises(RefusedError) as refused:
        await simulator.finish(page, "pay", follow_return=False)
    assert (refused.value.status, refused.value.message) == (410, "Session expired.")
    assert await simulator.truth() == []


async def test_two_attempts_can_both_be_paid_and_have_codes_of_their_own(simulator: Simulator) -> None:
    for reference in ("ref-1", "ref-2"):
        await simulator.pay(simulator.form_url, a_form(reference), follow_return=False)
    rows = await simulator.truth()
    assert len({row.ref_id for row in rows}) == 2


async def test_data_is_glued_on_blindly_even_behind_a_query(simulator: Simulator, merchant: Merchant) -> None:
    fields = a_form("ref-1", success_url=f"{merchant.url}/success?intent=x")
    await simulator.pay(simulator.form_url, fields)
    assert merchant.visits[0].startswith("/success?intent=x?data=")
    assert list(parse_qs(urlsplit(merchant.visits[0]).query)) == ["intent"]


@pytest.mark.parametrize(
    ("profile", "amount", "wire", "signed"),
    [
        (Profile(), "2212.40", "2212.4", "2212.4"),
        (Profile(comma_amounts=True), "2212.40", "2,212.4", "2212.4"),
        (Profile(numeric_amount=True), "2212.40", 2212.4, "2212.4"),
        (Profile(), "12345678.50", "1.23456785E7", "1.23456785E7"),
    ],
)
async def test_the_amount_is_written_as_the_profile_says(
    simulator: Simulator, profile: Profile, amount: str, wire: str | float, signed: str
) -> None:
    await simulator.reset(profile)
    told = payload(await simulator.pay(simulator.form_url, a_form("ref-1", amount), follow_return=False))
    assert told["total_amount"] == wire
    values = {name: str(value) for name, value in told.items()} | {"total_amount": signed}
    assert told["signature"] == sign(values, RETURN_FIELDS, PUBLIC_TEST_KEY)


async def test_a_person_sees_buttons_and_a_program_sees_json(
    simulator: Simulator, http: httpx2.AsyncClient
) -> None:
    page = await simulator.submit(simulator.form_url, a_form("ref-1"))
    html = await http.get(page)
    assert html.headers["content-type"].startswith("text/html")
    assert all(f"/{action}" in html.text for action in ("pay", "cancel", "leave"))
    view = (await http.get(page, headers={"accept": "application/json"})).json()
    assert (view["reference"], view["total_amount"], view["status"]) == ("ref-1", "110.0", "OPEN")
    await http.post(simulator.base_url + view["actions"]["pay"])
    assert (await http.get(page, headers={"accept": "application/json"})).json()["status"] == "PAID"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/esewa/pay/unknown", 404),
        ("POST", "/esewa/pay/unknown/pay", 404),
        ("GET", "/esewa/api/epay/main/v2/form", 405),
        ("POST", "/esewa/api/epay/transaction/status/", 405),
        ("GET", "/elsewhere", 404),
        ("GET", "/healthz", 200),
    ],
)
async def test_other_addresses_answer_plainly(
    simulator: Simulator, http: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await http.request(method, simulator.base_url + path)).status_code == status
