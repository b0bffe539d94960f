"""An operator's commands about old data, on the whole system."""

import asyncio
from functools import partial

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, eventually
from infra.stack import Stack
from tests.e2e.asking import rows

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATUS = "select status from orders where order_id = $1"


async def kb(scene: Scene, *words: str) -> Result:
    """The command as a person gives it; in a thread, because it asks as a program of its own."""
    assert isinstance(scene.stack, Stack)
    return await asyncio.to_thread(CliRunner().invoke, app, [*words, "--instance", str(scene.stack.folder)])


async def confirmed(scene: Scene) -> tuple[str, dict[str, object]]:
    """An order with one item: its id and the item."""
    _, sku = await scene.goods("heirloom", price_paisa=40_000, stock=1)
    buyer = scene.customer()
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    await scene.pay(checkout)
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")
    return checkout["id"], (await buyer.order(checkout["id"]))["items"][0]


async def test_the_roll_up_rests_is_looked_at_and_catches_up(scene: Scene) -> None:
    order_id, item = await confirmed(scene)
    paused = await kb(scene, "rollup", "pause", "--reason", "a drill", "--minutes", "1")
    assert paused.exit_code == 0, paused.output
    vendor = scene.vendor(item["vendor_id"])  # type: ignore[arg-type]
    for status in ("processing", "shipped", "delivered"):
        item = await vendor.move(item, status)

    refused = await kb(scene, "backfill", "rollup")
    assert refused.exit_code == 2
    assert "ROLLUP_PAUSED" in refused.output
    looked = await kb(scene, "backfill", "rollup", "--dry-run")
    assert looked.exit_code == 0, looked.output
    assert f"{order_id}: confirmed -> delivered" in looked.output
    assert [row["status"] for row in await rows(scene, "orders", STATUS, order_id)] == ["confirmed"]
    said = await kb(scene, "rollup", "status")
    assert "a drill" in said.output

    resumed = await kb(scene, "rollup", "resume")
    assert resumed.exit_code == 0, resumed.output

    async def rolled() -> str:
        return str((await rows(scene, "orders", STATUS, order_id))[0]["status"])

    await eventually(rolled, lambda one: one == "delivered", "delivered")
    assert (await kb(scene, "rollup", "resume")).exit_code == 2


async def test_a_healthy_system_has_nothing_to_report(scene: Scene) -> None:
    await confirmed(scene)
    empty = await kb(scene, "report", "empty-orders")
    assert (empty.exit_code, "0 of" in empty.output) == (0, True), empty.output
    orphans = await kb(scene, "report", "orphans", "--older-than", "600", "--repair")
    assert (orphans.exit_code, "0 orphans" in orphans.output) == (0, True), orphans.output
