"""Old orders are looked through and repaired by the roll-up itself; the roll-up rests and catches up."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.chassis.db import Database
from services.chassis.ids import new_id
from services.orders import reconcilers
from services.orders.store import old_data
from tests.integration.orders.front import Front, Person
from tests.integration.orders.test_items import an_order_of, delivers, roll_up_all
from tests.integration.orders.test_timers import run
from tests.integration.orders.world import Orders
from tests.unit.orders import making

BACKFILL = "/internal/operator/rollup/backfill"
WHY: dict[str, Any] = {"reason": "orders of the old system"}


async def history(orders: Orders) -> dict[str, UUID]:
    """Orders as an older system may leave them: right ones, three kinds of wrong ones, an empty one."""
    made = {
        name: (await an_order_of(orders, making.SONA, making.RAJU)).order_id
        for name in ("open", "done", "called off", "reopened", "empty")
    }
    deliver = "update order_items set status = 'delivered', delivered_at = now() where order_id = $1"
    await orders.as_admin(deliver, made["done"])
    await orders.as_admin(
        "update order_items set status = 'cancelled' where order_id = $1", made["called off"]
    )
    # What the old query did: delivered, although every item was cancelled, or one is still open.
    wrong = "update orders set status = 'delivered', delivered_at = now() where order_id = any($1)"
    await orders.as_admin(wrong, [made["called off"], made["reopened"]])
    await without_triggers(orders, "delete from order_items where order_id = $1", made["empty"])
    return made


async def without_triggers(orders: Orders, statement: str, *arguments: object) -> None:
    """As an import may write, past the rules that hold for everybody else."""
    connection = await asyncpg.connect(orders.admin_dsn)
    try:
        await connection.execute("set session_replication_role = replica")
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def statuses(orders: Orders) -> dict[UUID, str]:
    return {row["order_id"]: row["status"] for row in await orders.rows("select * from orders")}


async def every_page(operator: Person, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """All pages of a backfill, from wherever it begins."""
    pages, after = [], None
    while True:
        answer = await operator.ask("POST", BACKFILL, {"after": after, **WHY, **body})
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        after = pages[-1]["next"]
        if after is None:
            return pages


async def test_a_backfill_repairs_what_is_wrong_tells_it_and_leaves_the_rest_alone(
    orders: Orders, front: Front
) -> None:
    made, operator = await history(orders), front.person("operator")
    before = await statuses(orders)

    [looked] = await every_page(operator, dry_run=True)
    assert {(UUID(one["order_id"]), one["should_be"]) for one in looked["out_of_step"]} == {
        (made["done"], "delivered"),
        (made["called off"], "cancelled"),
        (made["reopened"], "confirmed"),
    }
    assert (looked["examined"], looked["repaired"], looked["empty"]) == (5, 0, [str(made["empty"])])
    assert await statuses(orders) == before, "a dry run changes nothing"

    pages = await every_page(operator, limit=1)
    assert [len(page["out_of_step"]) for page in pages].count(1) == 3, "page by page it finds the same"
    after = await statuses(orders)
    assert {name: after[order_id] for name, order_id in made.items()} == {
        "open": "confirmed",
        "done": "delivered",
        "called off": "cancelled",
        "reopened": "confirmed",
        "empty": "confirmed",
    }
    assert (await orders.told(made["done"])).count("order.delivered") == 1
    assert (await orders.told(made["called off"]))[-2] == "order.cancelled"
    history_of = "select count(*) from order_history where order_id = $1 and reason = 'repaired'"
    assert (await orders.rows(history_of, made["done"]))[0]["count"] == 1
    assert not any(page["out_of_step"] for page in await every_page(operator)), "again: nothing is left"


async def test_a_backfill_goes_on_where_it_is_told_to(orders: Orders, front: Front) -> None:
    made = await history(orders)
    ids = sorted(made.values())
    answer = await front.person("operator").ask(
        "POST", BACKFILL, {"after": str(ids[2]), "limit": 500, "dry_run": True, **WHY}
    )
    assert answer.json()["examined"] == 2
    assert answer.json()["next"] is None


async def test_orders_without_items_are_reported_and_never_rolled_up(orders: Orders, front: Front) -> None:
    made = await history(orders)
    page = await front.person("operator").gets("/internal/operator/reports/empty-orders?limit=5000")
    assert [one["order_id"] for one in page["data"]] == [str(made["empty"])]
    assert (page["examined"], page["next"]) == (5, None)
    assert await run(orders, reconcilers.repair_rollups) == 1, "only the one that is done"
    assert (await statuses(orders))[made["empty"]] == "confirmed"


async def test_a_paused_roll_up_leaves_items_moving_and_catches_up(orders: Orders, front: Front) -> None:
    order = await an_order_of(orders, making.SONA)
    operator = front.person("operator")
    paused = await operator.ask("POST", "/internal/operator/rollup/pause", {"minutes": 5, **WHY})
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")

    await delivers(front.vendor(making.SONA))
    await roll_up_all(orders)
    assert await run(orders, reconcilers.repair_rollups) == 0
    assert (await statuses(orders))[order.order_id] == "confirmed"
    assert "item.fulfilled" in await orders.told(order.order_id), "the item change was taken and told"
    refused = await operator.ask("POST", BACKFILL, WHY)
    assert (refused.status_code, refused.json()["code"]) == (409, "ROLLUP_PAUSED")
    assert (await operator.ask("POST", BACKFILL, {"dry_run": True, **WHY})).json()["out_of_step"]

    assert (await operator.ask("POST", "/internal/operator/rollup/resume", WHY)).json()["state"] == "running"
    assert await run(orders, reconcilers.repair_rollups) == 1
    assert (await statuses(orders))[order.order_id] == "delivered"
    assert (await orders.told(order.order_id)).count("order.delivered") == 1
    again = await operator.ask("POST", "/internal/operator/rollup/resume", WHY)
    assert (again.status_code, again.json()["code"]) == (409, "ROLLUP_RUNNING")


async def test_every_replica_obeys_the_pause_and_it_ends_by_itself(orders: Orders) -> None:
    other = Database(orders.db.dsn, name="another replica", size=2)
    try:
        async with orders.db.transaction() as tx:
            await old_data.pause_rollup(tx, timedelta(minutes=1), "a test", new_id())
        async with other.transaction() as tx:
            assert await old_data.is_rollup_paused(tx)
        await orders.as_admin("update switches set set_at = now() - interval '1 day', off_until = now()")
        async with other.transaction() as tx:
            assert not await old_data.is_rollup_paused(tx)
    finally:
        await other.close()


async def test_what_operators_do_is_written_down_with_who_and_why(orders: Orders, front: Front) -> None:
    await history(orders)
    operator = front.person("operator")
    await operator.ask("POST", "/internal/operator/rollup/pause", {"minutes": 5, **WHY})
    await operator.ask("POST", "/internal/operator/rollup/resume", WHY)
    await every_page(operator, dry_run=True)
    await every_page(operator)
    rows = await orders.rows("select action, actor, reason from operator_actions order by at, id")
    assert [row["action"] for row in rows] == ["rollup.pause", "rollup.resume", "rollup.backfill"]
    assert {(row["actor"], row["reason"]) for row in rows} == {(operator.id, WHY["reason"])}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("rollup/pause", {"minutes": 0, **WHY}),
        ("rollup/pause", {"minutes": 1441, **WHY}),
        ("rollup/pause", {"minutes": 5}),
        ("rollup/pause", {"minutes": 5, "reason": "  "}),
        ("rollup/backfill", {"limit": 501, **WHY}),
        ("rollup/backfill", {"after": "yesterday", **WHY}),
        ("orders/tell-again", {"ids": [], **WHY}),
        ("orders/tell-again", {"ids": [str(new_id()) for _ in range(501)], **WHY}),
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(front: Front, path: str, body: dict[str, Any]) -> None:
    operator = front.person("operator")
    answer = await operator.ask("POST", f"/internal/operator/{path}", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_FAILED")
    assert (await operator.gets("/internal/operator/rollup"))["state"] == "running"


@pytest.mark.parametrize("role", ["customer", "support", "service"])
async def test_only_operators_come_in(front: Front, role: str) -> None:
    answer = await front.person(role).ask("POST", BACKFILL, {"dry_run": True, **WHY})
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


async def test_how_a_checkout_ended_is_told_again_with_the_next_number(orders: Orders, front: Front) -> None:
    confirmed = await orders.confirmed(new_id(), kurta=1)
    expired = await orders.awaiting_payment(new_id(), kurta=1)
    await orders.hear(making.failed(expired.order_id, 9))
    waiting = await orders.awaiting_payment(new_id(), kurta=1)
    unknown = new_id()
    ids = [confirmed.order_id, expired.order_id, waiting.order_id, unknown]
    answer = await front.person("operator").ask(
        "POST", "/internal/operator/orders/tell-again", {"ids": [str(one) for one in ids], **WHY}
    )
    assert answer.status_code == 200, answer.text
    assert set(answer.json()["told"]) == {str(confirmed.order_id), str(expired.order_id)}
    assert set(answer.json()["refused"]) == {str(waiting.order_id), str(unknown)}
    written = await orders.rows("select subject from operator_actions where action = 'order.tell_again'")
    assert {row["subject"] for row in written} == set(answer.json()["told"]), "each is in its own story"
    assert (await orders.told(confirmed.order_id))[-1] == "order.finalized"
    assert (await orders.told(expired.order_id))[-1] == "order.expired"
    same = "select count(distinct payload) as bodies, count(distinct key_seq) as numbers from outbox "
    [row] = await orders.rows(same + "where topic = 'order.finalized'")
    assert tuple(row) == (1, 2), "the same fact under the next number"
    await delivers(front.vendor(making.SONA))
    rows = await orders.rows(
        "select key_seq from outbox where key = $1 order by key_seq", str(confirmed.order_id)
    )
    assert [one["key_seq"] for one in rows] == list(range(1, len(rows) + 1))
