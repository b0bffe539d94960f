"""More waits to be published than we take: no new checkouts, everything else goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.chassis import ops, outbox_backlog
from services.chassis.back_pressure import STALE_S, Pressure
from services.chassis.db import Database, Tx
from services.chassis.errors import Problem
from services.chassis.ids import new_id
from services.chassis.outbox_backlog import Backlog
from tests.integration.orders.front import CHECKOUT, open_front
from tests.integration.orders.world import Orders
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("most_rows", "most_age_s", "limit"), [(2, 600.0, "rows"), (1000, 0.001, "age"), (1000, 600.0, None)]
)
async def test_a_checkout_is_refused_while_the_backlog_is_over_a_limit(
    orders: Orders, tmp_path: Path, most_rows: int, most_age_s: float, limit: str | None
) -> None:
    for _ in range(3):  # nobody publishes here: three rows and more stay
        await orders.placed(new_id())
    pressure = Pressure(most_rows, most_age_s)
    async with orders.db.transaction() as tx:
        pressure.note(await outbox_backlog.measure(tx, most_rows + 1))
    assert pressure.over == limit
    async with open_front(orders, tmp_path, pressure=pressure) as front:
        buyer = front.customer()
        assert (await buyer.ask("PUT", "/v1/cart/items/kurta", {"quantity": 1})).status_code == 200
        answer = await buyer.ask("POST", "/v1/checkouts", CHECKOUT, key="once")
        if limit is None:
            assert answer.status_code == 201
            return
        assert (answer.status_code, answer.json()["code"]) == (503, "OUTBOX_BACKLOG")
        assert int(answer.headers["retry-after"]) > 0
        assert (await buyer.gets("/v1/cart"))["lines"], "a refused checkout takes nothing out of the cart"
        assert (await buyer.gets("/v1/orders"))["data"] == []
        pressure.note(Backlog(depth=0, oldest_age_s=0.0, shards=12, owned=12))
        again = await buyer.ask("POST", "/v1/checkouts", CHECKOUT, key="once")
        assert again.status_code == 201, "the same request is taken once there is room"


async def test_fulfilment_goes_on_while_checkouts_are_refused(orders: Orders, tmp_path: Path) -> None:
    pressure = Pressure(most_rows=1, most_age_s=600.0)
    pressure.note(Backlog(depth=2, oldest_age_s=0.0, shards=12, owned=0))
    order = await orders.confirmed(new_id(), kurta=1)
    async with open_front(orders, tmp_path, pressure=pressure) as front:
        vendor = front.vendor(order.lines[0].vendor_id)
        [item] = (await vendor.gets("/v1/vendor/items"))["data"]
        assert (await vendor.moves(item, "processing")).status_code == 200
        assert (await front.customer().ask("GET", "/v1/products")).status_code != 503


async def test_the_backlog_is_measured_again_and_again(orders: Orders) -> None:
    pressure, stopping = Pressure(most_rows=1, most_age_s=600.0), asyncio.Event()
    watching = asyncio.create_task(ops.watch_outbox(orders.db, pressure, stopping))

    async def over() -> bool:
        return pressure.over == "rows"

    try:
        for _ in range(3):
            await orders.placed(new_id())
        await until(over, what="the backlog is seen")
    finally:
        stopping.set()
        await watching


CRAWL = """
    alter table outbox_shard rename to real_shard;
    create view outbox_shard as select real_shard.* from real_shard, pg_sleep(60);
    grant select on outbox_shard to kb_orders;
"""


class Hasty(Database):
    """Gives no statement much time."""

    @asynccontextmanager
    async def transaction(self, *, lock_timeout_ms: int | None = None) -> AsyncIterator[Tx]:
        async with super().transaction(lock_timeout_ms=lock_timeout_ms) as tx:
            await tx.execute("set local statement_timeout = '20ms'")
            yield tx


async def test_a_backlog_that_takes_too_long_to_measure_opens_no_door(orders: Orders) -> None:
    await orders.as_admin(CRAWL)
    hasty = Hasty(orders.db.dsn, name="hasty", size=1)
    pressure, stopping = Pressure(most_rows=1, most_age_s=600.0), asyncio.Event()
    pressure.note(Backlog(depth=9, oldest_age_s=0.0, shards=12, owned=12))
    pressure.measured_at -= STALE_S + 1
    assert pressure.over is None

    async def over() -> bool:
        return pressure.over == "rows"

    watching = asyncio.create_task(ops.watch_outbox(hasty, pressure, stopping))
    try:
        await until(over, what="what was known goes on to be so")
    finally:
        stopping.set()
        await watching
        await hasty.close()


def test_a_backlog_of_which_nothing_was_ever_known_closes_no_door() -> None:
    pressure = Pressure(most_rows=1, most_age_s=600.0)
    pressure.keep()
    pressure.check()


def test_an_old_measurement_refuses_nobody() -> None:
    pressure = Pressure(most_rows=1, most_age_s=1.0)
    assert pressure.over is None
    pressure.note(Backlog(depth=9, oldest_age_s=0.0, shards=12, owned=12))
    with pytest.raises(Problem):
        pressure.check()
    pressure.measured_at -= STALE_S + 1
    pressure.check()
