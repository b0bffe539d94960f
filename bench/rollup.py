"""U3: every vendor of one order delivers at the same moment, and the order must be delivered in the end."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from bench import catalogue
from bench.ground import PASSWORD, Ground
from bench.results import Gate, Report
from bench.wire import clock
from contracts.orders import ItemFulfilled
from infra import databases
from services.chassis.db import Database
from services.chassis.decisions import Changed
from services.chassis.ids import new_id
from services.chassis.migrate import migrate
from services.orders.actions import items
from services.orders.domain import MOST_LINES, Actor, ItemStatus, MoveItem

VENDORS: Final = MOST_LINES
CONTROL_ROUNDS: Final = 30
DATABASE: Final = "rollup"
OLD: Final = "rollup_old"
SCHEMA: Final = Path(__file__).parent / "peers" / "job_queue" / "rollup.sql"

ADD_CHECKOUT: Final = """
    insert into checkouts (order_id, customer_id, stage, method, pay_within_s, lines, total_paisa, hold, seq,
                           version)
    values ($1, $2, 'confirmed', 'esewa', 900, '{"of": "no interest here"}', 100, 'held', 4, 3)
"""
ADD_ORDER: Final = """
    insert into orders (order_id, customer_id, order_number, method, status, total_paisa, hold_no, created_at,
                        seq, version)
    values ($1, $2, 'ORD-2026-' || lpad($3, 7, '0'), 'esewa', 'confirmed', 100, 1, now(), 4, 1)
"""
ADD_ITEMS: Final = """
    insert into order_items (order_id, line, id, sku, quantity, price_paisa, net_paisa, delivery_paisa,
                             vendor_id, slug, title, status)
    select $1, line, id, 'SKU-' || line, 1, 1, 1, 0, vendor, 'slug', 'title', 'shipped'
    from unnest($2::uuid[], $3::uuid[]) with ordinality as item (id, vendor, line)
"""
RESULT: Final = """
    select status,
           delivered_at = (select max(delivered_at) from order_items where order_id = $1) as at_the_latest,
           (select count(*) from order_history where order_id = $1 and new_status = 'delivered') as times,
           (select count(*) from outbox where key = $1::text and topic = 'order.delivered') as told
    from orders where order_id = $1
"""
EMPTY_OLD: Final = "truncate orders, order_items; insert into orders (id) values (1)"
FILL_OLD: Final = "insert into order_items (id, order_id) select n, 1 from generate_series(1, $1::int) as n"
DELIVER_OLD: Final = (
    "update order_items set fulfillment_status = 'delivered', delivered_at = now() where id = $1"
)

Round = Callable[[int], Awaitable[tuple[bool, float]]]


async def measure(ground: Ground, rounds: int) -> Report:
    """Ours, then the triggers of the replaced design as negative controls."""
    columns = ("design", "right at the end", "ms per order, median")
    report = Report("rollup", f"U3: {VENDORS} vendors deliver one order at once", columns)
    wrong = await _ours(ground, report, rounds)
    report.gates.append(Gate(f"wrong orders in {rounds} rounds", wrong, "at most", 0))
    for variant in ("naive", "skipping", "locking"):
        failed = await _old(ground, report, variant)
        if variant != "locking":
            report.gates.append(
                Gate(f"negative control, {variant} trigger: wrong orders", failed, "at least", 1)
            )
    return report


async def _ours(ground: Ground, report: Report, rounds: int) -> int:
    dsn = await databases.provision(ground.admin_dsn, "orders", PASSWORD, database=DATABASE)
    await migrate(ground.database(DATABASE), "orders")
    admin = await asyncpg.connect(ground.database(DATABASE))
    database = Database(dsn, name="rollup", size=64)
    try:
        return await _repeat(
            report, "item action, then the consumer's", rounds, lambda n: _round(admin, database, n)
        )
    finally:
        await database.close()
        await admin.close()


async def _repeat(report: Report, name: str, rounds: int, one: Round) -> int:
    outcomes = [await one(number) for number in range(rounds)]
    right = sum(good for good, _ in outcomes)
    median = statistics.median(seconds for _, seconds in outcomes) * 1e3
    report.add(name, f"{right}/{rounds}", median, design=name, right=right, rounds=rounds, ms=median)
    return rounds - right


async def _round(admin: asyncpg.Connection, database: Database, number: int) -> tuple[bool, float]:
    """One order, all its vendors at once; the roll-up hears what is told, in the order of the commits."""
    order_id, ids = new_id(), [new_id() for _ in range(VENDORS)]
    await admin.execute(ADD_CHECKOUT, order_id, catalogue.customer(number))
    async with admin.transaction():
        await admin.execute(ADD_ORDER, order_id, catalogue.customer(number), str(number))
        await admin.execute(ADD_ITEMS, order_id, ids, [catalogue.vendor(one) for one in range(VENDORS)])
    told: asyncio.Queue[ItemFulfilled] = asyncio.Queue()
    began = clock()
    hearing = asyncio.create_task(_hear(database, told))
    await asyncio.gather(*(_deliver(database, order_id, item, place, told) for place, item in enumerate(ids)))
    await hearing
    seconds = clock() - began
    row = await admin.fetchrow(RESULT, order_id)
    assert row is not None, "it was written above"
    return row["status"] == "delivered" and row["at_the_latest"] and row["times"] == row["told"] == 1, seconds


async def _deliver(
    database: Database, order_id: UUID, item_id: UUID, place: int, told: "asyncio.Queue[ItemFulfilled]"
) -> None:
    """One vendor's request: a transaction of its own."""
    actor = Actor("vendor", catalogue.vendor(place), catalogue.vendor(place))
    command = MoveItem(order_id, item_id, ItemStatus.DELIVERED, actor)
    pool = await database.pool()
    async with pool.acquire() as connection:
        await connection.fetchval("select 1")
    async with database.transaction() as tx:
        verdicts = await items.move_items(tx, [command])
    assert all(isinstance(one, Changed) for one in verdicts.outcomes), verdicts.outcomes
    for one in verdicts.told:
        if isinstance(one.event, ItemFulfilled):
            told.put_nowait(one.event)


async def _hear(database: Database, told: "asyncio.Queue[ItemFulfilled]") -> None:
    """The one consumer of the order's partition: what is there, in one transaction."""
    heard = 0
    while heard < VENDORS:
        events = [await told.get()]
        while not told.empty():
            events.append(told.get_nowait())
        async with database.transaction() as tx:
            await items.roll_up(tx, events)
        heard += len(events)


async def _old(ground: Ground, report: Report, variant: str) -> int:
    await databases.drop(ground.admin_dsn, OLD)
    admin = await asyncpg.connect(ground.admin_dsn)
    await admin.execute(f"create database {OLD}")
    await admin.close()
    dsn = ground.database(OLD)
    async with asyncpg.create_pool(dsn, min_size=VENDORS, max_size=VENDORS) as pool:
        await pool.execute(SCHEMA.read_text())
        await pool.execute(
            f"create trigger roll_up after update of fulfillment_status on order_items"
            f" for each row execute function roll_up_{variant}()"
        )

        async def one(_: int) -> tuple[bool, float]:
            await pool.execute(EMPTY_OLD)
            await pool.execute(FILL_OLD, VENDORS)
            began = clock()
            await asyncio.gather(*(pool.execute(DELIVER_OLD, n) for n in range(1, VENDORS + 1)))
            seconds = clock() - began
            return await pool.fetchval("select status from orders") == "delivered", seconds

        return await _repeat(report, f"old design, {variant} trigger", CONTROL_ROUNDS, one)
