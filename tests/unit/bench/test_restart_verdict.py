"""What `bench restart` refuses: a process cut off, an end that took too long, an answer that was none."""

import pytest

from bench.restart import Bought, Rolled, gates_of
from infra.restart import Restarted
from tests.support.doors import Doors

WELL = Restarted("orders-0", code=0, stop_s=10.0, away_s=12.0)


def missed(
    *restarts: Restarted, refused: int = 1, contended: int = 0, failed: tuple[str, ...] = ()
) -> list[str]:
    rolled = Rolled([*restarts], Bought(1, ["one"]))
    doors = Doors.of(["http://127.0.0.1:9"])
    doors.refused, doors.contended, doors.failed = refused, contended, [*failed]
    return [gate.name for gate in gates_of(rolled, doors) if not gate.met]


def test_ends_with_0_in_time_and_requests_that_went_through_are_well() -> None:
    assert missed(WELL) == []


@pytest.mark.parametrize("code", [1, 4, -9])
def test_one_process_that_ends_otherwise_than_with_0_is_enough(code: int) -> None:
    assert missed(WELL, Restarted("orders-1", code, 1.0, 2.0)) == [
        "processes that ended otherwise than with 0"
    ]


def test_one_process_that_takes_longer_than_10_s_is_enough() -> None:
    assert missed(WELL, Restarted("orders-1", 0, 10.1, 12.0)) == ["s from SIGTERM to the end, the slowest"]


def test_a_busy_row_is_a_failed_request_too() -> None:
    told = ["requests that failed otherwise than with 503 and Retry-After"]
    assert missed(WELL, contended=1) == missed(WELL, failed=("PUT /v1/cart: 500",)) == told


def test_nothing_restarted_and_nobody_away_proves_nothing() -> None:
    assert missed(refused=0) == ["connections refused: gateways were away", "processes restarted"]
