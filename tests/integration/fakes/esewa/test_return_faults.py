"""Browser returns that come twice, forged or at the wrong door."""

import base64
from urllib.parse import urlsplit

import orjson
import pytest

from tests.fakes.esewa import RefusedError, Simulator
from tests.fakes.esewa.faults import NoReturn, ReturnShape
from tests.fakes.esewa.forms import a_form
from tests.fakes.esewa.signing import PUBLIC_TEST_KEY, REQUEST_FIELDS, RETURN_FIELDS, sign
from tests.integration.fakes.esewa.conftest import Merchant


def text_of(url: str) -> bytes:
    return base64.b64decode(url.rpartition("?data=")[2])


def payload_of(url: str) -> dict[str, str]:
    payload: dict[str, str] = orjson.loads(text_of(url))
    return payload


def is_genuine(payload: dict[str, str], key: str = PUBLIC_TEST_KEY) -> bool:
    return payload["signature"] == sign(payload, RETURN_FIELDS, key)


@pytest.fixture
async def honest(simulator: Simulator) -> dict[str, str]:
    await simulator.pay(simulator.form_url, a_form("ref-1", "1500.05"), follow_return=False)
    return payload_of((await simulator.returns("ref-1", deliver=False))["url"])


async def shaped(simulator: Simulator, shape: ReturnShape) -> str:
    return str((await simulator.returns("ref-1", shape, deliver=False))["url"])


async def test_a_fault_may_swallow_the_return(simulator: Simulator, merchant: Merchant) -> None:
    await simulator.faults(NoReturn(), op="return")
    result = await simulator.pay(simulator.form_url, a_form("ref-1", merchant_url=merchant.url))
    assert (result.status, result.return_url, merchant.visits) == ("PAID", None, [])


async def test_a_fault_shapes_the_return_of_a_payment(simulator: Simulator, merchant: Merchant) -> None:
    await simulator.faults(ReturnShape(tamper={"status": "PENDING"}), op="return")
    await simulator.pay(simulator.form_url, a_form("ref-1", merchant_url=merchant.url))
    assert payload_of(merchant.visits[0])["status"] == "PENDING"


async def test_a_return_is_sent_again_and_again(simulator: Simulator, merchant: Merchant) -> None:
    await simulator.pay(simulator.form_url, a_form("ref-1", merchant_url=merchant.url))
    told = await simulator.returns("ref-1", times=30, at_once=10, delay_s=0.01)
    assert told["answers"] == {"303": 30}
    assert len(merchant.visits) == 31
    assert set(merchant.visits) == {merchant.visits[0]}
    assert len(await simulator.truth()) == 1


async def test_returns_to_a_dead_merchant_are_counted_as_failed(simulator: Simulator) -> None:
    await simulator.pay(simulator.form_url, a_form("ref-1"), follow_return=False)
    assert (await simulator.returns("ref-1", times=2))["answers"] == {"failed": 2}


@pytest.mark.parametrize("field", [*RETURN_FIELDS, "signature"])
async def test_each_field_can_be_tampered_with(
    simulator: Simulator, honest: dict[str, str], field: str
) -> None:
    forged = payload_of(await shaped(simulator, ReturnShape(tamper={field: "x"})))
    assert forged == honest | {field: "x"}
    assert is_genuine(honest)
    assert not is_genuine(forged)


async def test_a_return_is_signed_with_a_wrong_key(simulator: Simulator, honest: dict[str, str]) -> None:
    forged = payload_of(await shaped(simulator, ReturnShape(sign_with="mallory")))
    assert forged | {"signature": honest["signature"]} == honest
    assert is_genuine(forged, "mallory")
    assert not is_genuine(forged)


async def test_a_return_reflects_the_requests_signature(simulator: Simulator, honest: dict[str, str]) -> None:
    forged = payload_of(await shaped(simulator, ReturnShape(reflected=True)))
    assert forged["signed_field_names"] == ",".join(REQUEST_FIELDS)
    assert forged["signature"] == a_form("ref-1", "1500.05")["signature"]
    assert forged["signature"] == sign(forged, REQUEST_FIELDS, PUBLIC_TEST_KEY)
    assert (set(forged), forged["status"]) == (set(honest), "COMPLETE")


async def test_a_return_signs_another_order_of_fields(simulator: Simulator, honest: dict[str, str]) -> None:
    forged = payload_of(await shaped(simulator, ReturnShape(reordered=True)))
    order = tuple(forged["signed_field_names"].split(","))
    assert (set(order), order == RETURN_FIELDS) == (set(RETURN_FIELDS), False)
    assert forged["signature"] == sign(forged, order, PUBLIC_TEST_KEY)
    assert set(forged) == set(honest)


async def test_keys_are_added_dropped_and_doubled(simulator: Simulator, honest: dict[str, str]) -> None:
    assert payload_of(await shaped(simulator, ReturnShape(extra={"note": "hi"}))) == honest | {"note": "hi"}
    assert set(honest) - set(payload_of(await shaped(simulator, ReturnShape(drop=("signature",))))) == {
        "signature"
    }
    assert text_of(await shaped(simulator, ReturnShape(duplicate="status"))).count(b'"status":') == 2


async def test_the_amount_of_one_return_is_written_otherwise(
    simulator: Simulator, honest: dict[str, str]
) -> None:
    comma = payload_of(await shaped(simulator, ReturnShape(comma_amount=True)))
    assert comma == honest | {"total_amount": "1,500.05"}
    assert b'"total_amount":1500.05,' in text_of(await shaped(simulator, ReturnShape(numeric_amount=True)))


async def test_the_failure_url_is_hit_for_a_paid_attempt(simulator: Simulator, merchant: Merchant) -> None:
    await simulator.faults(ReturnShape(to="failure"), op="return")
    result = await simulator.pay(simulator.form_url, a_form("ref-1", merchant_url=merchant.url))
    assert (result.status, merchant.visits) == ("PAID", ["/failure/ref-1"])


@pytest.mark.parametrize("without_data", [True, False])
async def test_the_success_url_is_hit_for_an_unpaid_attempt(
    simulator: Simulator,
    merchant: Merchant,
    without_data: bool,  # noqa: FBT001
) -> None:
    await simulator.submit(simulator.form_url, a_form("ref-1", merchant_url=merchant.url))
    await simulator.returns("ref-1", ReturnShape(to="success", without_data=without_data))
    [visit] = merchant.visits
    assert urlsplit(visit).path == "/success/ref-1"
    assert ("?data=" in visit) is not without_data
    assert without_data or is_genuine(payload_of(visit))
    assert await simulator.truth() == []


async def test_there_is_no_return_without_a_form(simulator: Simulator) -> None:
    with pytest.raises(RefusedError) as refused:
        await simulator.returns("unknown")
    assert refused.value.status == 404
