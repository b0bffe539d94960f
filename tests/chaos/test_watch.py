"""The watch tells each wrong thing once, names what it never saw, and survives a database that is away."""

import asyncio

import pytest

from infra.audit import Report
from infra.audit.always import of_a_moment
from infra.audit.promises import PROMISES, Finding, Violation
from infra.audit.report import Judged
from infra.ports import free_port
from tests.chaos import watch
from tests.chaos.watch import Looks, watching

MOMENT = [one for one in PROMISES if of_a_moment(one)]
OVERSOLD = Violation(("sku-1", "sku-2"), "more is reserved than there is")


def report_of(finding: Finding) -> Report:
    return Report(tuple(Judged(one, finding) for one in MOMENT), (), 0.0)


def test_there_is_something_to_watch() -> None:
    assert {"STK-1", "STK-2", "STK-3", "ORD-6"} <= {one.id for one in MOMENT}


def test_a_watch_that_found_everything_in_order_is_kept() -> None:
    looks = Looks()
    looks.note("inventory", report_of(Finding(3)))
    found = looks.checked()
    assert (found.ok, found.examined) == (True, 1)


def test_what_was_wrong_for_a_moment_is_told_once_and_stays_wrong() -> None:
    looks = Looks()
    for finding in (Finding(3, (OVERSOLD,)), Finding(3, (OVERSOLD,)), Finding(3)):
        looks.note("inventory", report_of(finding))
    found = looks.checked()
    assert (found.ok, found.examined) == (False, 3)
    assert len(found.violations) == len(MOMENT) * len(OVERSOLD.ids)


def test_a_promise_that_no_look_ever_saw_is_named() -> None:
    looks = Looks()
    looks.note("inventory", report_of(Finding(0)))
    assert f"{MOMENT[0].id} was never looked at" in looks.checked().violations


async def test_a_database_that_is_away_is_counted_and_ends_nothing() -> None:
    gone = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    async with watching(dict.fromkeys(("orders", "inventory"), gone)) as looks:
        async with asyncio.timeout(30):
            while set(looks.skipped) != {"orders", "inventory"}:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    found = looks.checked()
    assert (looks.stopped, found.examined, found.ok) == ([], 0, False)
    assert "inventory 1" in found.says


async def test_a_watch_that_breaks_off_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "AWAY", ())
    gone = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    async with watching(dict.fromkeys(("orders", "inventory"), gone)) as looks, asyncio.timeout(30):
        while asyncio.all_tasks() - {asyncio.current_task()}:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
    assert len(looks.stopped) == 2
    assert not looks.checked().ok
