"""The acceptance list says no where it should."""

from pathlib import Path
from typing import Any

import pytest

from infra import release_gate as gate
from infra.release_gate import Purchase, Verdict

ITEM: dict[str, Any] = {
    "sku": "kurta",
    "vendor_id": "v",
    "title": "Kurta",
    "quantity": 2,
    "price_paisa": 100,
    "net_paisa": 200,
    "delivery_paisa": 50,
}


def a_purchase(**said: Any) -> Purchase:  # noqa: ANN401
    known: dict[str, Any] = {
        "stages": ["verifying", "confirmed"],
        "polls": 2,
        "order": {"items": [ITEM], "total_paisa": 250},
        "paid": "0001",
    }
    return Purchase(**known | said)


def test_a_good_purchase_meets_every_point_about_it() -> None:
    made = a_purchase()
    points = (gate.items_are_valid, gate.cart_clears, gate.polling_ends, gate.payment_works)
    assert [one(made).wrong for one in points] == [()] * 4


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (gate.items_are_valid, {"order": {"items": [], "total_paisa": 0}}),
        (gate.items_are_valid, {"order": {"items": [ITEM | {"vendor_id": ""}], "total_paisa": 250}}),
        (gate.items_are_valid, {"order": {"items": [ITEM | {"quantity": 0}], "total_paisa": 250}}),
        (gate.items_are_valid, {"order": {"items": [ITEM], "total_paisa": 999}}),
        (gate.cart_clears, {"cart": [{"sku": "kurta"}]}),
        (gate.polling_ends, {"stages": ["verifying"]}),
        (gate.payment_works, {"paid": ""}),
        (gate.payment_works, {"order": {}}),
    ],
)
def test_what_is_wrong_is_said(point: Any, said: dict[str, Any]) -> None:  # noqa: ANN401
    verdict: Verdict = point(a_purchase(**said))
    assert verdict.wrong


def test_a_missing_page_is_named(tmp_path: Path) -> None:
    assert "docs/operating.md is missing" in gate.docs_are_complete(tmp_path).wrong
