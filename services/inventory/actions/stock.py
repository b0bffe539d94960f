"""Stock that people change: counted in, counted out, corrected; never below what is promised."""

from collections.abc import Sequence
from typing import TypeAlias

from services.chassis.db import Tx
from services.chassis.decisions import Refused
from services.inventory import domain
from services.inventory.domain import Adjustment, Level, MovementKind
from services.inventory.store import stock

Outcome: TypeAlias = Level | Refused


async def adjust_stock(tx: Tx, adjustments: Sequence[Adjustment], *, counted: bool) -> list[Outcome]:
    """Apply each that is allowed, in order, and write it down; an outcome for each.

    `counted` says that a person corrects a count; goods that arrive are entered without it.
    """
    if not adjustments:
        return []
    levels = await stock.lock_levels(tx, (one.sku for one in adjustments))
    outcomes: list[Outcome] = []
    made: list[tuple[Adjustment, MovementKind]] = []
    for one in adjustments:
        before = levels.get(one.sku)
        outcome = domain.adjust(before, one)
        outcomes.append(outcome)
        if before is not None and isinstance(outcome, Level):
            made.append((one, domain.kind_of(before, one, counted=counted)))
            levels[one.sku] = outcome
    await _save(tx, levels, made)
    return outcomes


async def _save(tx: Tx, levels: dict[str, Level], made: Sequence[tuple[Adjustment, MovementKind]]) -> None:
    if made:
        await stock.save_levels(tx, (levels[sku] for sku in {one.sku for one, _ in made}))
        await stock.insert_adjustments(tx, made)
