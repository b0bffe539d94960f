"""What the history says beside what the system says, and how long it took."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import quantiles
from uuid import UUID

from rich.console import Console
from rich.table import Table

from infra.people import Customer
from infra.replay.history import ITEMS, History, PastOrder, Unusable
from infra.replay.play import PATIENCE_S, Player, patiently

ROLLED_UP = {
    "delivered": "delivered",
    "cancelled": "cancelled",
    "shipped": "confirmed",
    "processing": "confirmed",
}
"""The status of an order all of whose items ended so."""
AT_ONCE = 32
SHOWN = 20


@dataclass(slots=True)
class Outcome:
    """What was found when every order was read back."""

    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)


async def read_back(player: Player, history: History) -> Outcome:
    """Every order through the API of its customer, waited for until its status has followed its items."""
    outcome, gate = Outcome(), asyncio.Semaphore(AT_ONCE)
    paid_at = {one.reference: one.paid_at async for one in player.esewa.stream_truth()}

    async def look(past: PastOrder) -> None:
        async with gate:
            await _look(player, past, outcome, paid_at)

    async with asyncio.TaskGroup() as group:
        for past in history.orders.values():
            group.create_task(look(past))
    return outcome


async def _look(
    player: Player, past: PastOrder, outcome: Outcome, paid_at: dict[str, datetime | None]
) -> None:
    wanted = ROLLED_UP[past.ends_as]
    outcome.said[past.status, wanted] += 1
    placed = player.journal.placed[past.id]
    customer = Customer(player.api, player.make_token, subject=UUID(past.customer))
    order = await patiently(lambda: customer.order(placed.checkout_id))
    for _ in range(int(PATIENCE_S)):
        if order["status"] == wanted:
            break
        await asyncio.sleep(1)
        order = await patiently(lambda: customer.order(placed.checkout_id))
    outcome.found[past.status, order["status"]] += 1
    if problem := _wrong(past, order):
        outcome.wrong.append(problem)
    if (paid := paid_at.get(placed.reference or "")) is not None:
        outcome.waits_s.append((datetime.fromisoformat(order["created_at"]) - paid).total_seconds())


def _wrong(past: PastOrder, order: dict[str, object]) -> str:
    items: Sequence[dict[str, object]] = order["items"]  # type: ignore[assignment]
    bought = Counter({str(item["sku"]): int(str(item["quantity"])) for item in items})
    if bought != Counter({goods.sku: units for goods, units in past.wanted.items()}):
        return f"{past.id}: its items are not the history's"
    statuses = {str(item["status"]) for item in items}
    if statuses != {past.ends_as}:
        return f"{past.id}: items are {sorted(statuses)}, the history says {past.ends_as}"
    if order["status"] != ROLLED_UP[past.ends_as]:
        return f"{past.id}: the order is {order['status']}"
    return ""


def show(console: Console, history: History, outcome: Outcome, seconds: float, placed: int) -> None:
    """The tables a reader compares."""
    table = Table(title="Orders by status", title_justify="left")
    for column in ("the history says", "so the order is", "orders", "the system has"):
        table.add_column(column)
    for (status, wanted), count in sorted(outcome.said.items()):
        table.add_row(status, wanted, str(count), str(outcome.found[status, wanted]))
    console.print(table)
    _show_unusable(console, history.unusable)
    for problem in outcome.wrong[:SHOWN]:
        console.print(problem, style="red", highlight=False)
    if placed:
        console.print(f"{placed} orders in {seconds:.1f} s: {placed / seconds:.1f} orders/s", highlight=False)
    if len(outcome.waits_s) > 1:
        cuts = quantiles(outcome.waits_s, n=100, method="inclusive")
        said = ", ".join(f"p{nth} {cuts[nth - 1]:.3f} s" for nth in (50, 95, 99))
        console.print(f"payment to confirmed: {said} ({len(outcome.waits_s)} orders)", highlight=False)


def _show_unusable(console: Console, unusable: Sequence[Unusable]) -> None:
    if not unusable:
        return
    console.print(f"{len(unusable)} rows could not be used:", style="yellow")
    for one in sorted(unusable, key=lambda row: (row.file == ITEMS, row.line)):
        console.print(f"  {one.file}:{one.line}: {one.reason}", highlight=False)
