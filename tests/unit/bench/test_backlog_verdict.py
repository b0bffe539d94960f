"""What `bench backlog` counts and refuses: what had waited was drained, and doors close when they should."""

import pytest

from bench import drain
from bench.backlog import BEFORE_S, Fared, Plan, gates_of
from bench.customers import Answer

TAKEN = Answer(placed=True, retry_after=None)
BUSY = Answer(placed=False, retry_after="5")
PLAN = Plan(rate=20.0, away_s=900.0, most_rows=20_000, most_age_s=120.0)
FIRST = "s until the first was refused"


def test_only_those_that_had_waited_are_counted_and_only_from_the_first_that_was_heard() -> None:
    finalized = {1: 9.0, 2: 11.0, 3: 12.0, 4: 14.0} | dict.fromkeys(range(100, 200), 11.5)
    assert drain.rate(finalized, {1, 2, 3, 4}, first=10.0) == pytest.approx(3 / 4)


def test_nothing_is_drained_while_one_order_is_missing() -> None:
    assert drain.rate({1: 11.0}, {1, 2}, first=10.0) == 0.0


def test_a_limit_is_reached_by_age_or_by_the_rows_of_the_schedule() -> None:
    assert PLAN.full_after_s == 120.0
    few = Plan(rate=20.0, away_s=900.0, most_rows=600, most_age_s=120.0)
    told = [start - BEFORE_S for start in few.starts if start >= BEFORE_S]
    assert few.full_after_s == told[600] == pytest.approx(30, rel=0.1)


@pytest.mark.parametrize(("away_s", "must"), [(119.0, False), (122.0, False), (124.0, True)])
def test_nobody_has_to_be_refused_in_an_outage_that_is_shorter_than_the_limit(
    away_s: float, *, must: bool
) -> None:
    assert Plan(away_s=away_s).must_refuse is must


def missed(plan: Plan, *refused_at: float, drained: float = 900.0) -> list[str]:
    """The gates that an outage misses in which one order was taken, and others were refused then."""
    asked = {1: 100.0} | {number: 100.0 + at for number, at in enumerate(refused_at, 2)}
    answers = {1: TAKEN} | {number: BUSY for number in asked if number > 1}
    fared = Fared(gone=100.0, back=1000.0, first=1001.0, caught_up=1005.0, drained=drained)
    fared.asked, fared.answers, fared.stages = asked, answers, {"confirmed": 1}
    return [gate.name for gate in gates_of(plan, fared, usual=1000.0) if not gate.met]


@pytest.mark.parametrize("at", [118.1, 120.5, 122.9])
def test_doors_that_close_when_the_limit_is_reached_are_well(at: float) -> None:
    assert missed(PLAN, at, 130.0) == []


@pytest.mark.parametrize("at", [60.0, 117.0, 124.0, 600.0])
def test_doors_that_close_too_early_or_too_late_are_not(at: float) -> None:
    assert missed(PLAN, at) == [FIRST]


def test_doors_that_never_close_are_seen() -> None:
    assert missed(PLAN) == ["refused", FIRST]
    assert missed(Plan(away_s=60.0)) == []


def test_a_slow_drain_is_seen() -> None:
    assert missed(PLAN, 120.5, drained=899.0) == ["drained / after a moment"]
