"""The payment form: what the gateway takes, and the words in which it refuses the rest."""

import asyncio
from typing import Literal

import pytest

from tests.fakes.esewa import RefusedError, Simulator, running_simulator
from tests.fakes.esewa.checks import MANDATORY
from tests.fakes.esewa.forms import a_form


async def refusal(simulator: Simulator, fields: dict[str, str]) -> str:
    with pytest.raises(RefusedError) as refused:
        await simulator.submit(simulator.form_url, fields)
    assert refused.value.status == 400
    return refused.value.message


async def test_a_good_form_leads_to_a_pay_page(simulator: Simulator) -> None:
    page = await simulator.submit(simulator.form_url, a_form("ref-1", "147.50"))
    assert page.startswith(f"{simulator.base_url}/esewa/pay/")


async def test_charges_are_part_of_the_total(simulator: Simulator) -> None:
    parts = {
        "amount": "100",
        "tax_amount": "10",
        "product_service_charge": "0.5",
        "product_delivery_charge": "0.05",
    }
    await simulator.pay(simulator.form_url, a_form("ref-1", "110.55", **parts), follow_return=False)
    assert [row.amount_paisa for row in await simulator.truth()] == [11_055]


@pytest.mark.parametrize("name", MANDATORY)
@pytest.mark.parametrize("how", ["absent", "empty"])
async def test_every_field_is_mandatory(simulator: Simulator, name: str, how: str) -> None:
    fields = a_form("ref-1") | {name: ""}
    if how == "absent":
        del fields[name]
    assert await refusal(simulator, fields) == f"Missing field: {name}."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (a_form("ref-1", product_code="OTHER"), "Unable to fetch merchant key..."),
        (a_form("ref-1", key="wrong"), "Invalid payload signature."),
        (a_form("ref-1") | {"total_amount": "1", "amount": "1"}, "Invalid payload signature."),
        (
            a_form("ref-1", signed_field_names="total_amount,product_code,transaction_uuid"),
            "Invalid payload signature.",
        ),
        (a_form("ref-1", amount="109"), "Total amount is not the sum of its parts."),
        (a_form("ref-1", "0"), "Total amount is not the sum of its parts."),
        (a_form("ref-1", "1.005"), "Invalid amount."),
        (a_form("ref-1", "1e3"), "Invalid amount."),
        (a_form("ref-1", "-5"), "Invalid amount."),
        (a_form("ref-1", tax_amount="none"), "Invalid amount."),
        (a_form("ref_1"), "Invalid transaction UUID."),
        (a_form("ref 1"), "Invalid transaction UUID."),
        (a_form("ref-1", success_url="javascript:alert(1)"), "Invalid success_url."),
        (a_form("ref-1", failure_url="/relative"), "Invalid failure_url."),
    ],
)
async def test_a_bad_form_is_refused(simulator: Simulator, fields: dict[str, str], message: str) -> None:
    assert await refusal(simulator, fields) == message
    assert await simulator.truth() == []


async def test_a_refused_form_does_not_use_up_its_uuid(simulator: Simulator) -> None:
    await refusal(simulator, a_form("ref-1", amount="109"))
    await simulator.submit(simulator.form_url, a_form("ref-1"))


@pytest.mark.parametrize("action", ["pay", "cancel", "leave", None])
async def test_a_uuid_is_good_for_one_form_whatever_became_of_it(
    simulator: Simulator, action: Literal["pay", "cancel", "leave"] | None
) -> None:
    page = await simulator.submit(simulator.form_url, a_form("ref-1"))
    if action is not None:
        await simulator.finish(page, action, follow_return=False)
    assert await refusal(simulator, a_form("ref-1", "220")) == "Duplicate transaction UUID."


async def test_of_many_forms_with_one_uuid_at_once_one_is_taken(simulator: Simulator) -> None:
    sent = [simulator.submit(simulator.form_url, a_form("ref-1")) for _ in range(10)]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1


async def test_a_lenient_gateway_takes_other_characters() -> None:
    async with running_simulator() as simulator:
        await simulator.profile(strict_uuid=False)
        await simulator.submit(simulator.form_url, a_form("ref_1"))


async def test_another_merchant_has_another_code_and_key() -> None:
    async with running_simulator(product_code="KBSTYLE", key="their key") as simulator:
        await simulator.submit(simulator.form_url, a_form("ref-1", product_code="KBSTYLE", key="their key"))
        assert await refusal(simulator, a_form("ref-2")) == "Unable to fetch merchant key..."


async def test_a_body_beyond_any_form_is_refused(simulator: Simulator) -> None:
    with pytest.raises(RefusedError) as refused:
        await simulator.submit(simulator.form_url, a_form("ref-1", note="x" * 100_000))
    assert refused.value.status == 413
