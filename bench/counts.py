"""What one order costs in counts: commits, WAL, rows, statements. They hardly depend on the machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import asyncpg

from bench.ground import Ground
from bench.load import Contender, Progress, closed_loop
from bench.ours.contender import Services
from bench.peers.job_queue.contender import JobQueue
from bench.results import Gate, Report

ORDERS: Final = {1: 400, 10: 2_000, 200: 6_000}
PEER_ORDERS: Final = 2_000
WITHIN_S: Final = 180.0
FULL: Final = 200
TOP: Final = 25

COUNTERS: Final = """
    select (select sum(xact_commit) from pg_stat_database)::bigint as commits,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint as writing,
           (pg_current_wal_insert_lsn() - '0/0')::bigint as wal,
           (select sum(tup_inserted + tup_updated + tup_deleted)::bigint from pg_stat_database) as rows,
           (select wal_fpi from pg_stat_wal) as page_images,
           (select sum(calls) from pg_stat_statements)::bigint as statements
"""
EXPENSIVE: Final = """
    select regexp_replace(query, '\\s+', ' ', 'g') as query, sum(calls)::bigint as calls,
           sum(total_exec_time + total_plan_time) as ms, sum(rows)::bigint as rows,
           sum(wal_bytes)::bigint as wal
    from pg_stat_statements
    group by 1 order by 3 desc limit $1
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """The server's counters, or the difference of two readings per order."""

    commits: float
    writing: float
    wal: float
    rows: float
    page_images: float
    statements: float

    def per_order(self, before: "Counts", orders: int) -> "Counts":
        """What one order adds."""
        return Counts(*((getattr(self, name) - getattr(before, name)) / orders for name in self.__slots__))


async def measure(ground: Ground, *, statements: bool = False) -> Report:
    """Both contenders; batches of 1, 10 and 200."""
    columns = ("contender", "commits", "of these writing", "WAL kB", "rows", "statements", "page images")
    report = Report("counts", "Per order", columns)
    for mode in ("3tx", "1tx"):
        await _add(ground, report, partial(JobQueue, ground, mode, 4), PEER_ORDERS)
    for batch, orders in ORDERS.items():
        counts = await _add(ground, report, partial(Services, ground, batch), orders, statements=statements)
        if batch == FULL:
            report.gates += [
                Gate("commits per order at 200", counts.commits, "at most", 0.2, 0.08),
                Gate("WAL per order at 200, kB", counts.wal / 1e3, "at most", 20, 14),
            ]
    return report


async def _add(
    ground: Ground, report: Report, start: Callable[[], Contender], orders: int, *, statements: bool = False
) -> Counts:
    contender = start()
    counted = Counting(contender, ground)
    in_flight = 20 * contender.batch + 200 if isinstance(contender, Services) else 200
    run = await closed_loop(counted, ground, orders, in_flight, WITHIN_S)
    total = counted.orders
    found = counted.after.per_order(counted.before, total)
    report.add(
        contender.name, found.commits, found.writing, found.wal / 1e3, found.rows, found.statements,
        found.page_images, contender=contender.name, orders=run.orders,
        **{name: getattr(found, name) for name in Counts.__slots__},
    )  # fmt: skip
    if statements:
        report.notes.append(f"{contender.name}: PostgreSQL time by statement, per order")
        report.notes += [
            f"  {row['ms'] / total * 1e3:7.1f} us  {row['calls'] / total:.4f} calls"
            f"  {row['rows'] / total:5.2f} rows  {row['wal'] / total:6.0f} B WAL"
            f"  {row['query'].strip()[:150]}"
            for row in counted.expensive
        ]
    return found


class Counting:
    """A contender whose server's counters are read around its work: no process of it is running then.

    Backends hand in their counts when they end, so readings are taken before the first starts and after the
    last has gone; the few statements of starting up are counted too.
    """

    def __init__(self, contender: Contender, ground: Ground) -> None:
        self._contender = contender
        self._ground = ground
        self.name = contender.name
        self.orders = 0
        self.before = self.after = Counts(0, 0, 0, 0, 0, 0)
        self.expensive: list[asyncpg.Record] = []

    @property
    def progress(self) -> Progress:
        return self._contender.progress

    async def prepare(self, orders: int) -> None:
        await self._contender.prepare(orders)
        self.orders = orders
        self.before = await _read(self._ground, reset=True)

    async def start(self) -> None:
        await self._contender.start()

    def submit(self, numbers: Sequence[int]) -> None:
        self._contender.submit(numbers)

    def is_alive(self) -> bool:
        return self._contender.is_alive()

    def pids(self) -> list[int]:
        return self._contender.pids()

    async def finish(self) -> dict[str, object]:
        noticed = await self._contender.finish()
        self.after = await _read(self._ground)
        connection = await asyncpg.connect(self._ground.admin_dsn)
        try:
            self.expensive = await connection.fetch(EXPENSIVE, TOP)
        finally:
            await connection.close()
        return noticed

    async def audit(self, orders: int) -> list[str]:
        return await self._contender.audit(orders)


async def _read(ground: Ground, *, reset: bool = False) -> Counts:
    connection = await asyncpg.connect(ground.admin_dsn)
    try:
        await connection.execute("checkpoint")
        if reset:
            await connection.execute("select pg_stat_statements_reset()")
        (row,) = await connection.fetch(COUNTERS)
        return Counts(*map(float, row))
    finally:
        await connection.close()
