"""The replaced design as a contender: its database, its process, its audit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson

from bench import catalogue, children, wire
from bench.ground import Ground
from bench.load import Progress
from bench.ours import world
from bench.peers.job_queue.process import DOOR
from infra import databases

SCHEMA: Final = Path(__file__).with_name("schema.sql")
DATABASE: Final = "job_queue"

AUDIT: Final = {
    "orders": "select count(*) from orders where status = 'confirmed'",
    "items": "select count(*) from order_items",
    "charges": """
        select count(*) from charges c join allocations a using (intent_id)
        where c.amount_paisa = a.amount_paisa
    """,
    "movements": "select -sum(delta) from inventory_movements",
    "histories": "select count(*) from checkout_history",
}
UNBALANCED: Final = """
    select count(*)
    from inventory
    left join (select sku, -sum(delta) as sold from inventory_movements group by 1) m using (sku)
    where reserved <> 0 or on_hand + coalesce(sold, 0) <> $1
"""
UNFINISHED: Final = "select count(*) from job_queue where status <> 'completed'"


@dataclass(slots=True)
class JobQueue:
    """One configuration of the replaced design."""

    ground: Ground
    mode: str = "1tx"
    workers: int = 4
    door: int = 0
    """The port at which checkouts enter by HTTP; 0: they enter at the function."""
    progress: Progress = field(default_factory=Progress)
    _process: Any = None
    _switchboard: wire.Switchboard | None = None

    @property
    def name(self) -> str:
        """How it is called in tables."""
        return f"job queue {self.mode}, {self.workers} workers"

    async def prepare(self, orders: int) -> None:
        await databases.drop(self.ground.admin_dsn, DATABASE)
        await self._create(orders)

    async def start(self) -> None:
        self.progress = Progress()
        socket = self.ground.folder / "wire"
        self._switchboard = wire.Switchboard(self._heard)
        await self._switchboard.open(socket)
        module = ["bench.peers.job_queue.process", str(socket), self.ground.database(DATABASE)]
        self._process = await children.start(
            "job-queue",
            [*module, self.mode, str(self.workers)],
            folder=self.ground.folder,
            env=self._environment(),
        )
        await self._switchboard.wait_for("job-queue")

    def _environment(self) -> dict[str, str]:
        if not self.door:
            return {}
        shared = {"database_url": self.ground.database(DATABASE), "port": self.door, "log_level": "warning"}
        return {DOOR: orjson.dumps(shared | world.settings(self.ground, "orders")).decode()}

    async def _create(self, orders: int) -> None:
        await _run(self.ground.admin_dsn, f"create database {DATABASE}")
        connection = await asyncpg.connect(self.ground.database(DATABASE))
        try:
            await connection.execute(SCHEMA.read_text())
            await connection.copy_records_to_table("vendors", records=catalogue.vendor_rows())
            stock = [(*row[1:], catalogue.STOCK_OF_EACH, 0, 1) for row in catalogue.sku_rows()]
            await connection.copy_records_to_table("inventory", records=stock)
            await connection.copy_records_to_table("cart_items", records=catalogue.cart_rows(orders))
            # Only what is filled: an empty table that was analysed is planned as if it stayed empty.
            await connection.execute("vacuum analyze vendors, inventory, cart_items")
        finally:
            await connection.close()

    def _heard(self, _: str, message: wire.Message) -> None:
        for number in message["finalized"]:
            self.progress.finalized[number] = message["at"]
        self.progress.settled = len(self.progress.finalized)
        self.progress.moved.set()

    def submit(self, numbers: Sequence[int]) -> None:
        assert self._switchboard is not None, "started before"
        self._switchboard.ends["job-queue"].send({"place": list(numbers)})

    def is_alive(self) -> bool:
        return self._process.returncode is None

    def pids(self) -> list[int]:
        return [self._process.pid]

    async def finish(self) -> dict[str, Any]:
        await children.stop(self._process, self.ground.folder, "job-queue")
        if self._switchboard is not None:
            await self._switchboard.close()
        return {}

    async def audit(self, orders: int) -> list[str]:
        lines = orders * catalogue.LINES
        expected = {
            "orders": orders,
            "items": lines,
            "charges": orders,
            "movements": lines,
            "histories": orders * 3,
        }
        connection = await asyncpg.connect(self.ground.database(DATABASE))
        try:
            found = {name: await connection.fetchval(AUDIT[name]) for name in expected}
            unbalanced = await connection.fetchval(UNBALANCED, catalogue.STOCK_OF_EACH)
            unfinished = await connection.fetchval(UNFINISHED)
        finally:
            await connection.close()
        wrong = [
            f"{name}: {found[name]}, not {wanted}"
            for name, wanted in expected.items()
            if found[name] != wanted
        ]
        wrong += [f"{unbalanced} SKUs unbalanced"] if unbalanced else []
        return wrong + ([f"{unfinished} jobs unfinished"] if unfinished else [])


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
