"""`kb report orphans`: what one service waits for from another in vain, and who can tell it again."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from infra.orphans import find, repairs

CHECKOUT = """
    insert into checkouts (order_id, customer_id, pay_within_s, method, lines, stage, hold, total_paisa,
                           seq, version)
    values ($1, $1, 900, 'esewa', '{"a": {"sku": "a", "quantity": 1}}', $2, 'held', 100, 1, 1)
"""
PAID = """
    insert into intents (subject_id, subject_kind, status, customer_id, amount_paisa, pay_by, close_at,
                         verified_at)
    values ($1, 'order', 'SUCCEEDED', $1, 100, now(), now(), now() - interval '5 minutes')
"""
KNOWN = "insert into hold_orders (order_id) values ($1)"
HELD = """
    insert into holds (order_id, hold_no, status, opened_at)
    values ($1, 1, 'held', now() - interval '5 minutes')
"""


async def test_orphans_are_found_and_whoever_has_decided_tells_again(
    database: Callable[[str], Awaitable[Any]],
) -> None:
    made = {service: await database(service) for service in ("orders", "payments", "inventory")}
    ids = {name: uuid4() for name in ("unheard", "unanswered", "lost", "let go", "under way", "nobody's")}

    async def write(service: str, statement: str, *arguments: object) -> None:
        connection = await asyncpg.connect(made[service].admin_dsn)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    for name, stage in (
        ("unheard", "verifying"),
        ("unanswered", "confirmed"),
        ("let go", "expired"),
        ("under way", "awaiting_payment"),
    ):
        await write("orders", CHECKOUT, ids[name], stage)
    for name in ("unheard", "unanswered", "lost"):
        await write("payments", PAID, ids[name])
    for name in ("let go", "under way", "nobody's"):
        await write("inventory", KNOWN, ids[name])
        await write("inventory", HELD, ids[name])

    dsns = {service: one.dsn for service, one in made.items()}
    assert await find(dsns, older_than_s=600) == [], "young ones may be on their way"
    found = await find(dsns, older_than_s=0)
    names = {order_id: name for name, order_id in ids.items()}
    assert {(names[one.order_id], one.stage, one.repair) for one in found} == {
        ("unheard", "verifying", "payments"),
        ("unanswered", "confirmed", "orders"),
        ("lost", None, None),
        ("let go", "expired", "orders"),
        ("nobody's", None, None),
    }
    asked: dict[str, set[UUID]] = {path: {UUID(one) for one in some} for _, path, some in repairs(found)}
    assert asked == {
        "/orders/tell-again": {ids["unanswered"], ids["let go"]},
        "/intents/tell-again": {ids["unheard"]},
    }
