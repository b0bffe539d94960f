"""One seed gives one schedule, and every schedule is hard enough to mean something."""

from collections import Counter

import pytest

from tests.chaos.faults import INJECTIONS
from tests.chaos.schedule import KINDS, LONG_RUN_S, schedule

SHORT_S = 80.0
LONG_S = 600.0
SEEDS = range(1, 51)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_schedule(seed: int) -> None:
    assert schedule(seed, SHORT_S) == schedule(seed, SHORT_S)


def test_another_seed_gives_another_schedule() -> None:
    assert len({schedule(seed, SHORT_S) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_run_has_at_least_thirty_faults_of_every_kind_that_end_within_ten_seconds(seed: int) -> None:
    planned = schedule(seed, SHORT_S)
    assert len(planned) >= 35
    assert {one.kind for one in planned} == set(KINDS)
    assert max(one.lasts_s for one in planned) <= 10


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_begin_in_order_and_end_before_the_run_does(seed: int) -> None:
    planned = schedule(seed, SHORT_S)
    assert [one.at_s for one in planned] == sorted(one.at_s for one in planned)
    assert all(one.at_s > 0 and one.at_s + one.lasts_s <= SHORT_S + 0.02 for one in planned)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_run_gives_every_kind_its_turn_and_lets_each_that_may_last_long_do_so(seed: int) -> None:
    planned = schedule(seed, LONG_S)
    counts = Counter(one.kind for one in planned)
    assert set(counts) == set(KINDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(planned) >= 115
    for name, kind in KINDS.items():
        short_s = kind.lasts_s[1]
        long = [one for one in planned if one.kind == name and one.lasts_s > short_s]
        assert len(long) <= 2
        assert all(kind.long_s and one.lasts_s <= kind.long_s[1] for one in long)


def test_three_long_runs_keep_the_broker_away_for_minutes_and_leave_time_for_orders() -> None:
    away = [one.lasts_s for seed in (1, 2, 3) for one in schedule(seed, LONG_S) if one.kind == "broker away"]
    assert sum(lasts_s > 60 for lasts_s in away) >= 3
    assert sum(away) < LONG_S


def test_a_run_just_too_short_for_long_faults_has_none() -> None:
    planned = schedule(1, LONG_RUN_S - 1)
    assert max(one.lasts_s for one in planned) <= 10


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_is_in_the_matrix_and_whom_it_hits(kind: str) -> None:
    assert KINDS[kind].fault
    assert KINDS[kind].targets


def test_every_kind_can_be_done_and_nothing_else() -> None:
    assert set(INJECTIONS) == set(KINDS)
