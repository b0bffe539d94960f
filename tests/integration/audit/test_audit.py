"""The audit finds every corruption that is planted, by the promise that must; only a clean world passes."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from infra import databases
from infra.audit import Report, audit
from tests.integration.audit.corruptions import CORRUPTIONS, Corruption
from tests.integration.audit.lived_in import LivedIn, planted

Audit = Callable[..., Awaitable[Report]]


async def test_a_clean_world_keeps_every_promise(audited: Audit) -> None:
    report = await audited(wait_quiet_s=20)
    assert report.ok, report.as_json()
    assert report.idle == ["EVT-8"]


async def test_without_the_truth_the_gateway_is_not_said_to_agree(audited: Audit) -> None:
    report = await audited(truth_url=None, wait_quiet_s=20)
    assert report.ok
    assert report.finding("MON-3").skipped
    assert "MON-3" in report.idle


async def test_a_database_that_is_not_given_is_not_judged(world: LivedIn, audited: Audit) -> None:
    report = await audited(databases={"inventory": world.databases["inventory"]}, wait_quiet_s=20)
    assert report.ok, report.as_json()
    assert report.finding("MON-1").skipped == "no database of orders, payments was given"
    assert report.finding("STK-1").examined


@pytest.mark.parametrize("planting", CORRUPTIONS)
async def test_a_corruption_is_found(world: LivedIn, audited: Audit, planting: Corruption) -> None:
    dsn = await planted(world, planting.service, planting.statements)
    try:
        report = await audited(databases=world.databases | {planting.service: dsn})
    finally:
        await databases.drop(world.admin_dsn, dsn.rpartition("/")[2])
    assert set(report.broken) == planting.broken, report.as_json()
    assert bool(report.moving) == planting.moving
    assert not report.ok


async def test_a_payment_we_never_heard_of_is_found(world: LivedIn, audited: Audit) -> None:
    charged = {row["ref_id"] for row in world.truth if row["paid_at"]}
    world.truth.append(world.truth[0] | {"reference": "unknown", "ref_id": "0UNHEARD"})
    try:
        report = await audited()
    finally:
        world.truth.pop()
    assert report.broken == ["MON-3"]
    (violation,) = report.finding("MON-3").violations
    assert violation.what == "paid at the gateway, not charged here"
    assert [one.split()[0] for one in violation.ids] == ["0UNHEARD"]
    assert report.finding("MON-3").examined == len(charged) + 1


async def test_an_empty_system_is_not_said_to_keep_anything(
    database: Callable[[str], Awaitable[Any]], kafka: str
) -> None:
    made = {service: (await database(service)).admin_dsn for service in ("orders", "inventory", "payments")}
    report = await audit(databases=made, kafka=kafka, topic_prefix="nobody.", wait_quiet_s=0)
    assert report.ok
    assert {one.verdict for one in report.judged} == {"no work", "skipped"}
