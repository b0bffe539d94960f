"""A run of `bench poison` whose load was late gets one more chance; late again, it is missed."""

import pytest

from bench.latency import spread
from bench.load import LATE_SHARE, Cpu, Run
from bench.poison import _add, repeated_when_void
from bench.results import Report

COSTS = Cpu(python=0, postgres=0, broker=0)


def run(late_share: float) -> Run:
    return Run(orders=100, seconds=1, cpu=COSTS, latency=spread([0.001]), late_share=late_share)


@pytest.mark.parametrize(
    ("late", "taken"),
    [((0.0, 0.0), 0.0), ((LATE_SHARE, 0.0), LATE_SHARE), ((0.02, 0.0), 0.0), ((0.02, 0.03), 0.03)],
)
async def test_only_a_void_run_is_repeated_and_only_once(late: tuple[float, float], taken: float) -> None:
    runs = iter(late)

    async def once() -> tuple[Run, None]:
        return run(next(runs)), None

    found, _ = await repeated_when_void("none", once)
    assert found.late_share == taken


@pytest.mark.parametrize(("late_share", "met"), [(LATE_SHARE, True), (0.02, False)])
def test_a_run_that_stays_void_is_missed(late_share: float, *, met: bool) -> None:
    report = Report("poison", "", ("poison",))
    _add(report, "none", run(late_share), None)
    assert [gate.met for gate in report.gates] == [met]
