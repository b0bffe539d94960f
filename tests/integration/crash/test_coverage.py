"""Whatever is registered is tried: a new handler, duty, worker or changing request needs a scenario."""

from pathlib import Path

import pytest

from services.chassis.app import Service
from services.chassis.housekeeping import HOUSEKEEPING
from tests.fakes.esewa import running_simulator
from tests.integration.crash import of_inventory, of_orders, of_payments
from tests.support.crash.registered import everything

NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"
SWEEPERS = {one.name for one in HOUSEKEEPING}
"""Every service sweeps with these; they are tried in orders."""


async def _service(name: str, folder: Path) -> Service:
    if name == "orders":
        return of_orders.wired(NOWHERE, folder)
    if name == "inventory":
        return of_inventory.wired(NOWHERE, folder)
    async with running_simulator() as simulator:
        return of_payments.wired(NOWHERE, folder, simulator)


@pytest.mark.parametrize(
    ("name", "scenarios"),
    [
        ("orders", {*of_orders.SCENARIOS}),
        ("inventory", {*of_inventory.SCENARIOS} | SWEEPERS),
        ("payments", {*of_payments.SCENARIOS} | SWEEPERS),
    ],
)
async def test_everything_that_is_registered_is_tried(name: str, scenarios: set[str], tmp_path: Path) -> None:
    registered = everything(await _service(name, tmp_path))
    assert registered - scenarios == set(), f"each needs a scenario in of_{name}.py"
    assert scenarios - registered == set(), f"not registered, but in of_{name}.py"
