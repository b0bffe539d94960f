"""`make release-gate`: the acceptance list of a release, checked on a system of its own and printed."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.table import Table

from contracts.topics import TOPICS
from infra import event_map
from infra.databases import SERVICES, database_dsn
from infra.demo.scene import Scene, scene_on
from infra.parts import ROOT
from infra.progress import silent
from infra.stack import Stack, ended_by_sigterm, erase
from infra.verdict import audited
from services.chassis.migrate import ForeignSchemaError, check_schema

FOLDER: Final = ROOT / ".run" / "release-gate"
POLL_S: Final = 2.0
POLL_WITHIN_S: Final = 120.0
"""As a customer's page asks; one that is still waiting after this counts as timed out."""
PAGES: Final = ("operating", "bounds", "using-the-api", "consuming-events", "life-of-an-order", "event-map")

STUCK: Final[dict[str, str]] = {
    "parked records": "select count(*) from inbox_parked where state in ('parked', 'dead')",
    "blocked keys": "select count(*) from inbox_block",
    "refused events": "select count(*) from outbox_parked where state in ('parked', 'retry')",
    "failing reconcilers": "select count(*) from reconciler_runs where last_error is not null",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One point of the list: empty `wrong` means it holds; `seen` says on what that rests."""

    point: str
    wrong: tuple[str, ...]
    seen: str = ""


@dataclass(slots=True)
class Purchase:
    """One bought thing, as the points look at it."""

    stages: list[str] = field(default_factory=list)
    polls: int = 0
    took_s: float = 0.0
    order: dict[str, Any] = field(default_factory=dict)
    cart: list[Any] = field(default_factory=list)
    paid: str = ""


async def buy(scene: Scene) -> Purchase:
    """A test payment: from an empty cart until the page would show the order."""
    made = Purchase()
    _, sku = await scene.goods("acceptance", price_paisa=125_000, stock=5)
    buyer = scene.customer()
    await buyer.wants(sku, 2)
    checkout = await buyer.check_out()
    paid = await scene.pay(checkout)
    made.paid = str(paid.ref_id or "")
    begun = monotonic()
    while monotonic() - begun < POLL_WITHIN_S:
        made.polls += 1
        made.stages.append((await buyer.checkout(checkout["id"]))["stage"])
        if made.stages[-1] == "confirmed":
            break
        await asyncio.sleep(POLL_S)
    made.took_s = monotonic() - begun
    made.order = await buyer.order(checkout["id"]) if made.stages[-1] == "confirmed" else {}
    made.cart = (await buyer.call("GET", "/v1/cart"))["lines"]
    return made


def polling_ends(made: Purchase) -> Verdict:
    wrong = () if made.stages[-1] == "confirmed" else (f"after {made.took_s:.0f} s it is {made.stages[-1]}",)
    return Verdict("polling does not time out", wrong, f"{made.polls} questions, {made.took_s:.1f} s")


def payment_works(made: Purchase) -> Verdict:
    wrong = () if made.paid and made.order else ("the test payment became no order",)
    return Verdict("a test payment works", wrong, f"reference {made.paid}")


def items_are_valid(made: Purchase) -> Verdict:
    items = made.order.get("items", [])
    wrong = [] if items else ["the order has no items"]
    for item in items:
        missing = [name for name in ("sku", "vendor_id", "title") if not item[name]]
        missing += [name for name in ("quantity", "price_paisa") if item[name] < 1]
        wrong += [f"an item lacks {name}" for name in missing]
    total = sum(item["net_paisa"] + item["delivery_paisa"] for item in items)
    if items and total != made.order["total_paisa"]:
        wrong.append(f"items come to {total}, the order to {made.order['total_paisa']}")
    return Verdict("items are validated", tuple(wrong), f"{len(items)} items")


def cart_clears(made: Purchase) -> Verdict:
    return Verdict("the cart clears", ("there is still something in it",) if made.cart else ())


async def nothing_is_stuck(dsn_of: Callable[[str], str]) -> Verdict:
    wrong: list[str] = []
    for service in SERVICES:
        connection = await asyncpg.connect(dsn_of(service))
        try:
            for what, query in STUCK.items():
                if count := await connection.fetchval(query):
                    wrong.append(f"{service}: {count} {what}")
        finally:
            await connection.close()
    return Verdict("no stuck work", tuple(wrong), f"{len(STUCK)} questions to {len(SERVICES)} services")


async def schema_fits(dsn_of: Callable[[str], str]) -> Verdict:
    wrong: list[str] = []
    for service in SERVICES:
        connection = await asyncpg.connect(dsn_of(service))
        try:
            await check_schema(connection, service)
        except ForeignSchemaError as error:
            wrong.append(f"{service}: {error}")
        finally:
            await connection.close()
    return Verdict("the schema is this release's", tuple(wrong), ", ".join(SERVICES))


def docs_are_complete(root: Path = ROOT) -> Verdict:
    wrong = [f"docs/{name}.md is missing" for name in PAGES if not (root / "docs" / f"{name}.md").exists()]
    stale = [
        path for path, text in event_map.pages().items() if not path.exists() or path.read_text() != text
    ]
    wrong += [f"{path.name} is not what the contracts say: python -m infra.event_map" for path in stale]
    return Verdict("the documents are complete", tuple(wrong), f"{len(PAGES)} pages, {len(TOPICS)} topics")


async def promises_hold(scene: Scene) -> Verdict:
    """Everything that is one step is one transaction, and every other promise."""
    told = Console(file=sys.stderr, soft_wrap=True)
    wrong = () if await audited(scene.stack, told) else ("`kb audit` names what is broken, above",)
    return Verdict("steps are atomic: every promise is kept", wrong, "kb audit")


async def judge(scene: Scene) -> list[Verdict]:
    """The whole list, in the order in which it is read."""
    dsn_of = partial(_dsn, scene.stack.addresses["postgres"])
    made = await buy(scene)
    points: Sequence[Awaitable[Verdict]] = (
        nothing_is_stuck(dsn_of),
        schema_fits(dsn_of),
        promises_hold(scene),
    )
    stuck, schema, promises = [await one for one in points]
    of_purchase = [one(made) for one in (items_are_valid, cart_clears, polling_ends, payment_works)]
    return [stuck, schema, promises, *of_purchase, docs_are_complete()]


def _dsn(admin: str, service: str) -> str:
    return database_dsn(admin, f"kb_{service}")


def table_of(verdicts: Sequence[Verdict]) -> Table:
    table = Table("", "point", "seen", "wrong", box=None, title="Acceptance")
    for one in verdicts:
        table.add_row(
            "[red]no[/]" if one.wrong else "[green]yes[/]", one.point, one.seen, "\n".join(one.wrong)
        )
    return table


async def main() -> int:
    console = Console(highlight=False, soft_wrap=True)
    erase(FOLDER)
    console.print("starting a system of its own ...")
    async with ended_by_sigterm(), Stack(FOLDER, report=silent) as stack, scene_on(stack, console) as scene:
        verdicts = await judge(scene)
    console.print(table_of(verdicts))
    return 1 if any(one.wrong for one in verdicts) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
