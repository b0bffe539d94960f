"""Faults of meaning in the status check, and the truth that lies behind each."""

from typing import Any

import pytest

from tests.fakes.esewa.faults import (
    Fault,
    Lag,
    MissingRefId,
    Move,
    OtherProductCode,
    OtherStatus,
    OtherUuid,
    WrongAmount,
)
from tests.fakes.esewa.forms import a_form
from tests.integration.fakes.esewa.conftest import Shop


@pytest.fixture
async def paid(shop: Shop) -> Shop:
    await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    return shop


async def truth(shop: Shop) -> list[str]:
    return [row.status for row in await shop.simulator.truth()]


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (WrongAmount(), {"total_amount": 109.0}),
        (WrongAmount(delta_paisa=1), {"total_amount": 110.01}),
        (OtherProductCode(value="THEIRS"), {"product_code": "THEIRS"}),
        (OtherUuid(value="theirs"), {"transaction_uuid": "theirs"}),
        (MissingRefId(), {"ref_id": None}),
        (MissingRefId(how="empty"), {"ref_id": ""}),
        (OtherStatus(showing="SETTLING"), {"status": "SETTLING"}),
        (OtherStatus(showing="Complete"), {"status": "Complete"}),
        (OtherStatus(showing="PENDING"), {"status": "PENDING", "ref_id": None}),
    ],
)
async def test_one_answer_is_wrong_and_the_next_is_true(
    paid: Shop, fault: Fault, changed: dict[str, Any]
) -> None:
    honest = await paid.seen("ref-1")
    await paid.simulator.faults(fault, op="status")
    assert await paid.seen("ref-1") == honest | changed
    assert await paid.seen("ref-1") == honest
    assert await truth(paid) == ["PAID"]


async def test_the_ref_id_may_be_absent(paid: Shop) -> None:
    await paid.simulator.faults(MissingRefId(how="absent"), op="status")
    assert "ref_id" not in await paid.seen("ref-1")


@pytest.mark.parametrize("showing", ["NOT_FOUND", "AMBIGUOUS"])
async def test_the_status_lags_behind_the_payment(shop: Shop, showing: str) -> None:
    await shop.simulator.faults(Lag(showing=showing, polls=2), op="status")
    assert await shop.words("ref-1", 3) == ["NOT_FOUND"] * 3
    await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    assert await shop.words("ref-1", 4) == [showing, showing, "COMPLETE", "COMPLETE"]
    assert await truth(shop) == ["PAID"]


async def test_each_payment_lags_by_itself(shop: Shop) -> None:
    await shop.simulator.faults(Lag(polls=1), op="status", times=None)
    for reference in ("ref-1", "ref-2"):
        await shop.simulator.pay(shop.simulator.form_url, a_form(reference), follow_return=False)
    assert [await shop.words(reference, 2) for reference in ("ref-1", "ref-2")] == [
        ["NOT_FOUND", "COMPLETE"]
    ] * 2


async def test_the_return_may_arrive_before_the_status_flips(shop: Shop) -> None:
    await shop.simulator.faults(Lag(polls=1), op="status")
    result = await shop.simulator.pay(shop.simulator.form_url, a_form("ref-1"), follow_return=False)
    assert result.return_url is not None
    assert await shop.words("ref-1", 2) == ["NOT_FOUND", "COMPLETE"]


async def test_ambiguous_for_ever(paid: Shop) -> None:
    await paid.simulator.faults(OtherStatus(showing="AMBIGUOUS"), op="status", times=None)
    assert await paid.words("ref-1", 20) == ["AMBIGUOUS"] * 20


@pytest.mark.parametrize(
    ("fault", "words", "after"),
    [
        (Move(to="REVERSED"), ["COMPLETE", "CANCELED", "CANCELED"], "REVERSED"),
        (
            Move(to="REVERSED", after_polls=2, showing="AMBIGUOUS"),
            ["AMBIGUOUS", "AMBIGUOUS", "CANCELED"],
            "REVERSED",
        ),
        (Move(to="REFUNDED"), ["COMPLETE", "FULL_REFUND", "FULL_REFUND"], "REFUNDED"),
        (Move(to="PARTIALLY_REFUNDED", after_polls=0), ["PARTIAL_REFUND"] * 3, "PARTIALLY_REFUNDED"),
    ],
)
async def test_a_payment_moves_while_it_is_watched(
    paid: Shop, fault: Fault, words: list[str], after: str
) -> None:
    await paid.simulator.faults(fault, op="status")
    assert await paid.words("ref-1", 3) == words
    assert await truth(paid) == [after]
