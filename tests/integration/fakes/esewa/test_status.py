"""The status check: which word for which truth, in which shape."""

from typing import Literal

import orjson
import pytest

from tests.fakes.esewa.forms import a_form
from tests.fakes.esewa.world import Profile
from tests.integration.fakes.esewa.conftest import Shop


async def test_an_unknown_payment_is_not_found(shop: Shop) -> None:
    assert await shop.seen("ref-1", "147.50") == {
        "product_code": "EPAYTEST",
        "transaction_uuid": "ref-1",
        "total_amount": 147.5,
        "status": "NOT_FOUND",
        "ref_id": None,
    }


async def test_before_the_payer_does_anything_the_payment_is_not_found(shop: Shop) -> None:
    await shop.form(a_form("ref-1"))
    assert await shop.words("ref-1", 1) == ["NOT_FOUND"]


async def test_a_payment_is_complete_with_the_code_of_the_return(shop: Shop) -> None:
    result = await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    seen = await shop.seen("ref-1")
    assert (seen["status"], seen["ref_id"]) == ("COMPLETE", result.ref_id)


async def test_a_payer_who_left_is_pending_until_the_session_ends(shop: Shop) -> None:
    page = await shop.simulator.submit(shop.simulator.form_url, a_form("ref-1"))
    await shop.simulator.finish(page, "leave", follow_return=False)
    assert await shop.words("ref-1", 1) == ["PENDING"]
    await shop.simulator.clock(advance_s=301)
    assert await shop.words("ref-1", 1) == ["NOT_FOUND"]


async def test_a_cancelled_payment_is_canceled(shop: Shop) -> None:
    await shop.simulator.cancel(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    seen = await shop.seen("ref-1")
    assert (seen["status"], seen["ref_id"]) == ("CANCELED", None)


async def test_a_payment_outlives_its_session(shop: Shop) -> None:
    await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    await shop.simulator.clock(advance_s=86_400)
    assert await shop.words("ref-1", 1) == ["COMPLETE"]


@pytest.mark.parametrize(
    ("moved", "word"),
    [("REVERSED", "CANCELED"), ("REFUNDED", "FULL_REFUND"), ("PARTIALLY_REFUNDED", "PARTIAL_REFUND")],
)
async def test_what_operators_do_to_a_payment_shows(
    shop: Shop, moved: Literal["REVERSED", "REFUNDED", "PARTIALLY_REFUNDED"], word: str
) -> None:
    await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    part_paisa = 4_000 if moved == "PARTIALLY_REFUNDED" else None
    await shop.simulator.move("ref-1", moved, refunded_paisa=part_paisa)
    seen = await shop.seen("ref-1")
    assert seen["status"] == word
    assert seen["ref_id"] is not None
    [row] = await shop.simulator.truth()
    assert (row.status, row.refunded_paisa) == (moved, part_paisa or 11_000)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("110", b"110.0"), ("147.50", b"147.5"), ("0.01", b"0.01"), ("12345678.50", b"1.23456785E7")],
)
async def test_the_amount_is_a_bare_java_double(shop: Shop, amount: str, text: bytes) -> None:
    await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1", amount), follow_return=False)
    answer = await shop.status("ref-1", amount)
    assert b'"total_amount":' + text + b"," in answer.content
    assert orjson.loads(answer.content)["status"] == "COMPLETE"


async def test_asking_with_another_amount_finds_nothing(shop: Shop) -> None:
    await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    seen = await shop.seen("ref-1", "109")
    assert (seen["status"], seen["total_amount"], seen["ref_id"]) == ("NOT_FOUND", 109.0, None)
    assert (await shop.seen("ref-1", "110.00"))["status"] == "COMPLETE"


async def test_or_finds_the_payment_with_its_true_amount_when_the_profile_says_so(shop: Shop) -> None:
    await shop.simulator.profile(wrong_amount_not_found=False)
    await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    seen = await shop.seen("ref-1", "109")
    assert (seen["status"], seen["total_amount"]) == ("COMPLETE", 110.0)


async def test_the_old_shape_has_the_old_keys_only(shop: Shop) -> None:
    await shop.simulator.reset(Profile(legacy_status_shape=True))
    result = await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    assert await shop.seen("ref-1") == {
        "pid": "ref-1",
        "scd": "EPAYTEST",
        "totalAmount": 110.0,
        "status": "COMPLETE",
        "refId": result.ref_id,
    }


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"product_code": "EPAYTEST", "total_amount": "1"}, "Missing parameter: transaction_uuid."),
        ({}, "Missing parameter: product_code, total_amount, transaction_uuid."),
        (
            {"product_code": "OTHER", "total_amount": "1", "transaction_uuid": "r"},
            "Unable to fetch merchant key...",
        ),
    ],
)
async def test_a_bad_question_gets_the_error_shape(shop: Shop, asked: dict[str, str], message: str) -> None:
    answer = await shop.http.get(shop.simulator.status_url, params=asked)
    assert (answer.status_code, answer.json()) == (400, {"code": 0, "error_message": message})
