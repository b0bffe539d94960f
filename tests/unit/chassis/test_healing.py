"""Every duty of every service looks often enough, and is wired."""

import importlib
from types import ModuleType

import pytest

from services.chassis.housekeeping import HOUSEKEEPING
from services.chassis.reconciler import Reconciler
from services.orders.health import longest
from services.orders.reconcilers import ALL, Limits, timed

WITHIN_S = 30.0
LONGEST_JITTER = 1.2
NOT_URGENT = {"expire_cart_lines"}
"""What waits there for a month is nobody's order."""


def duties(module: ModuleType) -> list[Reconciler]:
    return [value for value in vars(module).values() if isinstance(value, Reconciler)]


SAGA = [
    one
    for service in ("orders", "inventory", "payments")
    for one in duties(importlib.import_module(f"services.{service}.reconcilers"))
    if one.name not in NOT_URGENT
]


@pytest.mark.parametrize("duty", [one for one in SAGA if one.alarm is None], ids=lambda one: one.name)
def test_what_is_stuck_is_healed_within_half_a_minute_of_its_deadline(duty: Reconciler) -> None:
    assert duty.every_s * LONGEST_JITTER <= WITHIN_S


@pytest.mark.parametrize("duty", [*SAGA, *HOUSEKEEPING], ids=lambda one: one.name)
def test_a_duty_that_only_raises_alarms_says_so(duty: Reconciler) -> None:
    assert (duty.alarm is not None) == duty.name.startswith("alarm_")


def test_no_two_duties_of_a_process_share_a_name() -> None:
    names = [one.name for one in (*SAGA, *HOUSEKEEPING)]
    assert len(set(names)) == len(names)


def test_orders_runs_all_its_duties_with_its_limits() -> None:
    quick = timed(Limits(reserve_s=1), look_every_s=0.5)
    assert [one.name for one in quick] == [one.name for one in ALL]
    assert {one.every_s for one in quick} == {0.5}
    assert [one.alarm for one in quick] == [one.alarm for one in ALL]


def test_every_stage_that_can_stall_has_a_limit() -> None:
    under_way = {"reserving", "awaiting_phone", "awaiting_payment", "verifying", "on_hold", "processing"}
    assert set(longest(Limits())) == under_way
