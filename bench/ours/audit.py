"""What the databases say after a run: every order once and whole, and how long each hop took."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg

from bench import catalogue
from bench.ground import Ground
from bench.latency import Spread, spread
from bench.ours import world

TOLD: Final = {
    "orders": ("order.placed", "order.finalized"),
    "inventory": ("stock.reserved",),
    "payments": ("payment.opened", "payment.verified"),
}
HOPS: Final = (
    ("order.placed", "stock.reserved"),
    ("stock.reserved", "payment.opened"),
    ("payment.opened", "payment.verified"),
    ("payment.verified", "order.finalized"),
)

COUNTS: Final = {
    "orders": """
        select (select count(*) from orders where status = 'confirmed') as orders,
               (select count(*) from checkouts where stage = 'confirmed') as confirmed,
               (select count(*) from checkouts where stage <> 'confirmed') as unfinished,
               (select count(*) from order_items where status = 'pending') as items,
               (select count(*)
                from (select order_id from order_items group by 1 having count(*) = $1) o) as whole,
               (select count(*) from order_history) as order_steps,
               (select count(*) from item_history) as item_steps,
               (select count(*) from cart_lines) as left_in_carts
    """,
    "inventory": """
        select (select count(*) from holds where status = 'consumed') as consumed,
               (select count(*) from holds where status <> 'consumed') as other_holds,
               (select sum(reserved) from stock) as reserved,
               (select $1 - sum(on_hand) from stock) as sold,
               (select count(*) from stock_movements where kind = 'sold') as movements,
               (select count(*)
                from stock s
                join (select sku, sum(delta) as units from stock_movements group by 1) m using (sku)
                where s.on_hand <> m.units) as unbalanced
    """,
    "payments": """
        select (select count(*) from intents where status = 'SUCCEEDED' and answer = 'finalized') as answered,
               (select count(*) from intents where answer is null) as unanswered,
               (select count(*) from charges) as charges,
               (select count(*) from allocations where kind = 'APPLIED') as applied,
               (select count(*) from gateway_observations) as observations
    """,
}
UNPUBLISHED: Final = """
    select count(*) from outbox o join outbox_shard s using (part)
    where not pg_visible_in_snapshot(o.xid, s.snap)
"""
PARKED: Final = """
    select (select count(*) from inbox_parked where state <> 'replayed')
        + (select count(*) from outbox_parked where state <> 'published')
"""
TOLD_ONCE: Final = "select count(*), count(distinct key) from outbox where topic = $1"
TOLD_AT: Final = "select key::uuid, extract(epoch from created_at)::float8 from outbox where topic = $1"


async def audit(ground: Ground, orders: int, left_in_carts: int = 0) -> list[str]:
    """What is wrong; empty when every placed order is finalized once with all that belongs to it.

    `left_in_carts`: lines of customers who were told to come back later and did not.
    """
    wrong: list[str] = []
    for service in world.SERVICES:
        connection = await asyncpg.connect(ground.database(world.database(service)))
        try:
            wrong += await _audit_one(connection, service, _expected(orders, left_in_carts)[service], orders)
        finally:
            await connection.close()
    return wrong


async def _audit_one(
    connection: asyncpg.Connection, service: str, expected: Mapping[str, int], orders: int
) -> list[str]:
    argument = {
        "orders": [catalogue.LINES],
        "inventory": [catalogue.STOCK_OF_EACH * catalogue.SKUS],
        "payments": [],
    }
    (found,) = await connection.fetch(COUNTS[service], *argument[service])
    wrong = [
        f"{name}: {found[name]}, not {count}" for name, count in expected.items() if found[name] != count
    ]
    for topic in TOLD[service]:
        ((told, keys),) = await connection.fetch(TOLD_ONCE, topic)
        if not told == keys == orders:
            wrong.append(f"{topic}: told {told} times about {keys} orders")
    for what, statement in {"unpublished": UNPUBLISHED, "parked": PARKED}.items():
        if count := await connection.fetchval(statement):
            wrong.append(f"{service}: {count} {what}")
    return wrong


def _expected(orders: int, left_in_carts: int) -> Mapping[str, Mapping[str, int]]:
    lines = orders * catalogue.LINES
    return {
        "orders": {
            "orders": orders,
            "confirmed": orders,
            "unfinished": 0,
            "items": lines,
            "whole": orders,
            "order_steps": orders,
            "item_steps": lines,
            "left_in_carts": left_in_carts,
        },
        "inventory": {
            "consumed": orders,
            "other_holds": 0,
            "reserved": 0,
            "sold": lines,
            "movements": lines,
            "unbalanced": 0,
        },
        "payments": {
            "answered": orders,
            "unanswered": 0,
            "charges": orders,
            "applied": orders,
            "observations": orders,
        },
    }


async def hops(ground: Ground) -> dict[str, Spread]:
    """From one fact being told to the next one, by the database's clock."""
    told: dict[str, dict[UUID, float]] = {}
    for service, topics in TOLD.items():
        connection = await asyncpg.connect(ground.database(world.database(service)))
        try:
            for topic in topics:
                told[topic] = {row[0]: row[1] for row in await connection.fetch(TOLD_AT, topic)}
        finally:
            await connection.close()
    return {f"{one} -> {other}": _between(told[one], told[other]) for one, other in HOPS}


def _between(early: Mapping[Any, float], late: Mapping[Any, float]) -> Spread:
    return spread(late[key] - early[key] for key in late if key in early)
