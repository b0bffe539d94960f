"""What people and machines read of an audit."""

from io import StringIO
from uuid import UUID

from rich.console import Console

from infra.audit.events import circles
from infra.audit.promises import PROMISES, Finding, Found, Promise
from infra.audit.report import SHOWN, Judged, Report, show
from infra.audit.topics import of_this_installation
from infra.audit.world import World

DEMANDED = (
    [f"MON-{n}" for n in (1, 2, 3, 4, 5, 7, 8)]
    + [f"STK-{n}" for n in range(1, 8)]
    + [f"ORD-{n}" for n in (1, 3, 4, 6, 7)]
    + [f"EVT-{n}" for n in range(1, 9)]
)


async def _never(_: World) -> Finding:
    return Finding(0)


def judged(finding: Finding) -> Judged:
    return Judged(Promise("STK-1", "A", "Stock adds up", (), _never), finding)


def shown(report: Report, *, terminal: bool = False) -> str:
    out = StringIO()
    show(report, Console(file=out, force_terminal=terminal, width=120))
    return out.getvalue()


def broken(ids: int) -> Finding:
    found = Found()
    for number in range(ids):
        found.add("does not add up", f"sku-{number}", "[bold]")
    return found.finding(99)


def test_every_promise_is_checked_once() -> None:
    assert sorted(one.id for one in PROMISES) == sorted(DEMANDED)


def test_nothing_examined_is_not_called_kept() -> None:
    assert judged(Finding(1)).verdict == "kept"
    assert judged(Finding(0)).verdict == "no work"
    assert judged(Finding(0, skipped="no truth")).verdict == "skipped"
    report = Report((judged(Finding(0)),), (), 0.1)
    assert report.ok
    assert report.idle == ["STK-1"]


def test_a_violation_is_shown_with_its_first_ids_as_they_are() -> None:
    for terminal in (False, True):
        text = shown(Report((judged(broken(SHOWN + 5)),), (), 0.1), terminal=terminal)
        assert f"STK-1: does not add up ({SHOWN + 5})" in text
        assert "sku-0 [bold]" in text
        assert f"sku-{SHOWN} " not in text
        assert "1 broken" in text


def test_elsewhere_than_on_a_terminal_each_promise_is_one_plain_line() -> None:
    text = shown(Report((judged(Finding(1234)),), (), 0.1))
    assert text.splitlines()[0] == "kept     STK-1      1234  Stock adds up"


def test_a_system_that_never_gets_quiet_does_not_pass() -> None:
    report = Report((judged(Finding(1)),), ("orders: events are unpublished (3)",), 0.1)
    assert not report.ok
    assert "not quiet: orders: events are unpublished (3)" in shown(report)


def test_machines_get_counts_verdicts_and_ids() -> None:
    told = Report((judged(broken(3)),), (), 0.1).as_json()
    (promise,) = told["promises"]
    assert not told["ok"]
    assert promise["verdict"] == "BROKEN"
    assert promise["violations"][0]["count"] == 3


def test_a_circle_of_causes_is_found_and_a_chain_is_none() -> None:
    a, b, c, d = (UUID(int=n) for n in range(1, 5))
    assert circles({a: b, b: c}) == []
    assert set(circles({a: b, b: c, c: b, d: a})) == {b, c}
    assert circles({a: a}) == [a]


def test_only_public_topics_of_this_installation_are_read() -> None:
    names = ["order.placed", "__consumer_offsets", "_kb.audit.anchor", "t1.order.placed", "parcel.lost"]
    assert of_this_installation(names, "") == {"order.placed": "order.placed", "parcel.lost": "parcel.lost"}
    assert of_this_installation(names, "t1.") == {"t1.order.placed": "order.placed"}
