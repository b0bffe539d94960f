"""`kb audit` as a person runs it: addresses by hand or of a stack, a report, an exit code."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from infra import databases
from infra.audit import audit_command, command
from infra.audit.always import always
from tests.integration.audit.corruptions import A_CONFIRMED_ORDER, CORRUPTIONS, Corruption
from tests.integration.audit.lived_in import LivedIn, planted

app = typer.Typer()
app.command()(audit_command)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def by_hand(world: LivedIn, dsns: dict[str, str]) -> list[str]:
    given = [f"--database={service}={dsn}" for service, dsn in dsns.items()]
    return [*given, f"--kafka={world.kafka}", f"--topic-prefix={world.prefix}"]


def test_a_clean_world_ends_with_0_and_a_broken_one_with_1(world: LivedIn, tmp_path: Path) -> None:
    clean = run(*by_hand(world, world.databases), "--json", str(tmp_path / "clean.json"))
    assert clean.exit_code == 0, clean.output
    assert json.loads((tmp_path / "clean.json").read_text())["ok"]
    early = f"update orders set status = 'cancelled' where order_id = {A_CONFIRMED_ORDER}"
    dsn = asyncio.run(planted(world, "orders", [early]))
    broken = run(*by_hand(world, world.databases | {"orders": dsn}), "--wait=0")
    asyncio.run(databases.drop(world.admin_dsn, dsn.rpartition("/")[2]))
    assert broken.exit_code == 1
    assert "ORD-1: cancelled, but its items say confirmed (1)" in broken.output


@pytest.mark.parametrize("planting", CORRUPTIONS)
async def test_at_any_moment_the_same_is_found_of_what_one_database_can_tell(
    world: LivedIn, planting: Corruption
) -> None:
    dsn = await planted(world, planting.service, planting.statements)
    try:
        report = await always(world.databases | {planting.service: dsn})
    finally:
        await databases.drop(world.admin_dsn, dsn.rpartition("/")[2])
    judged = {one.promise.id for one in report.judged}
    assert judged == {"STK-1", "STK-2", "STK-3", "STK-4", "ORD-3", "ORD-4", "ORD-6"}
    missed = (planting.broken & judged) - set(report.broken)
    assert missed <= {"STK-4"}, "of which the half about records is judged by the whole audit only"
    assert set(report.broken) <= planting.broken, report.as_json()


def test_what_must_hold_now_needs_no_broker_and_no_quiet(
    world: LivedIn, free_port: Callable[[], int]
) -> None:
    nowhere = [*by_hand(world, world.databases)[:-2], f"--kafka=127.0.0.1:{free_port()}", "--now"]
    done = run(*nowhere)
    assert done.exit_code == 0, done.output
    assert "ORD-6" in done.output
    assert "MON-1" not in done.output


def test_a_promise_without_work_fails_when_work_is_required(world: LivedIn) -> None:
    stock_alone = by_hand(world, {"inventory": world.databases["inventory"]})
    assert run(*stock_alone, "--require-work").exit_code == 1


def test_a_stack_tells_by_itself_where_everything_is(
    world: LivedIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    place = tmp_path / ".run" / "mine"
    place.mkdir(parents=True)
    told = {"databases": world.databases, "addresses": {"kafka": world.kafka}}
    (place / "stack.json").write_text(json.dumps(told))
    done = run("--instance=mine", f"--topic-prefix={world.prefix}")
    assert done.exit_code == 0, done.output
    assert run("--instance=other").exit_code == 2


def test_half_an_address_is_refused(world: LivedIn) -> None:
    assert run(f"--kafka={world.kafka}").exit_code == 2
    assert run("--database=orders", f"--kafka={world.kafka}").exit_code == 2


def test_a_broker_that_is_not_there_is_said_so(world: LivedIn, free_port: Callable[[], int]) -> None:
    stock = f"--database=inventory={world.databases['inventory']}"
    done = run(stock, f"--kafka=127.0.0.1:{free_port()}")
    assert done.exit_code == 2
    assert "cannot look: KafkaConnectionError" in done.output
