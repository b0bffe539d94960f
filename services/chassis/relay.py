"""The relay: what is told and committed reaches Kafka, in order per key, whatever dies in between.

Cycle: read the rows that became visible since the cursor, send them shard by shard, move the cursor. Shards
are leased (`leases`), cursors are saved behind (`leases`), reading is a window between snapshots (`window`),
sending is `sending` over a `Sink` (`publisher`). A crash costs copies of what was sent since the last save,
never an event.
"""

import asyncio
import random
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import structlog

from contracts.topics import PARTITIONS
from services.chassis import outbox_backlog
from services.chassis import outbox_metrics as metrics
from services.chassis.leases import Leases, Shard, Terms
from services.chassis.parked_rows import OvertakenError
from services.chassis.publisher import KafkaSink, Row, Sink, UnavailableError
from services.chassis.sending import Sending
from services.chassis.supervision import keep_alive
from services.chassis.wake import Waker
from services.chassis.window import Backlog, Cursor, Page, read_level

LOG = structlog.get_logger("relay")
DRAIN_S: Final = 3.0

SESSION: Final = {
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "statement_timeout": "30000",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "15000",
    "timezone": "UTC",
    "work_mem": "16MB",
    # Windows are always found by the index; a plan made for other sizes, or made anew each time, costs more.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
FUTURE_CURSORS: Final = """
    select array_agg(part order by part)
    from outbox_shard
    where greatest(pg_snapshot_xmax(snap), pg_snapshot_xmax(page_to))
          > pg_snapshot_xmax(pg_current_snapshot())
"""


class ForeignCursorError(RuntimeError):
    """A cursor is ahead of this cluster's transaction ids: the database came from another one by dump."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the relay goes; seconds and rows."""

    page: int = 2000
    busy_poll_s: float = 0.025
    """How soon to look again for what other processes told; one that holds every shard is told of all."""
    idle_poll_s: float = 0.5
    gather_from: int = 100
    """So many rows at once mean load: then the next window is left to grow, and costs less per row."""
    gather_s: float = 0.02
    straggler_s: float = 0.02
    """A shard slower than this is left behind, so that it cannot hold up the others."""
    send_s: float = 10.0
    retry_look_s: float = 1.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 30.0
    terms: Terms = field(default_factory=Terms)


class Relay:
    """One relay of one service; any number may run, in one process or several, and share the shards."""

    def __init__(
        self,
        dsn: str,
        *,
        service: str,
        kafka: str,
        topic_prefix: str = "",
        instance: str = "0",
        told: asyncio.Event | None = None,
        pace: Pace | None = None,
        sink: Sink | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self.told = told or asyncio.Event()
        self.sink = sink or KafkaSink(kafka, service=service, topic_prefix=topic_prefix, instance=instance)
        self._dsn = dsn
        self._name = f"{service}-relay-{instance}"
        self.leases = Leases(self._connect, instance, self.pace.terms)
        self.leases.gained = self.told.set
        self.news = asyncio.Event()
        """Set by whoever tells in this process: other processes are to hear of it."""
        self._through_at = float("-inf")
        self._backlogs: list[Backlog] = []
        self._new: set[asyncio.Task[None]] = set()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._sending = Sending(
            self.sink, self.leases, send_s=self.pace.send_s, got_through=self._got_through
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until `stopping`, then hand the leases back.

        Raises ForeignCursorError, and whatever the database raises: the caller runs it again.
        """
        reader = await self._connect()
        waker = Waker(self._connect, news=self.news, wake=self.told.set, alone=self._is_alone)
        tasks: list[asyncio.Task[None]] = []
        try:
            await _refuse_foreign_cursors(reader)
            tasks = [
                asyncio.create_task(self.leases.keep(), name="leases"),
                asyncio.create_task(self._publish(reader, stopping), name="publish"),
                asyncio.create_task(self._wake_at(stopping), name="stop"),
                asyncio.create_task(keep_alive("wake", waker.keep, stopping), name="wake"),
            ]
            done, _ = await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await self._end(reader, tasks)

    async def _end(self, reader: asyncpg.Connection, tasks: Sequence[asyncio.Task[None]]) -> None:
        """What is in flight is waited for while the leases are still kept, then they are handed back."""
        reader.terminate()
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=DRAIN_S)
            for task in late:
                task.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._in_flight, return_exceptions=True)
        await self.sink.close()
        await self._hand_back()

    async def _hand_back(self) -> None:
        try:
            async with asyncio.timeout(2.0):
                await self.leases.hand_back_all()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # The leases run out by themselves.
            LOG.warning("leases not handed back", error=repr(error))

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._dsn,
            timeout=5.0,
            command_timeout=30.0,
            server_settings=SESSION | {"application_name": self._name},
        )

    async def _wake_at(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self.told.set()

    async def _publish(self, reader: asyncpg.Connection, stopping: asyncio.Event) -> None:
        """Cycle after cycle; the signal is cleared before the read, so no commit during it is missed."""
        pause = self.pace.busy_poll_s
        while not stopping.is_set():
            self.told.clear()
            found, more = await self._cycle(reader)
            if more:
                continue
            if found >= self.pace.gather_from:
                await _wait(stopping, self.pace.gather_s)
            pause = self._first_pause() if found else min(2 * pause, self.pace.idle_poll_s)
            await _wait(self.told, pause)
        await self._cycle(reader)

    def _first_pause(self) -> float:
        """Until the next look that nobody asked for: what this process tells wakes us anyway."""
        return self.pace.idle_poll_s if self._is_alone() else self.pace.busy_poll_s

    def _is_alone(self) -> bool:
        """Whether there is no shard that another relay would have to be woken for."""
        return len(self.leases.held) == PARTITIONS

    async def _cycle(self, reader: asyncpg.Connection) -> tuple[int, bool]:
        """Read and send once; returns how many rows were found, and whether there is more to read at once."""
        now = asyncio.get_running_loop().time()
        ready = [one for one in self.leases.held.values() if self._is_ready(one, now)]
        found, more = 0, False
        for shard in ready:
            if shard.blocked and now >= shard.look_again_at:
                self._start(self._retry_parked(shard), shard)
        ready = [shard for shard in ready if not shard.busy]
        level = [shard for shard in ready if not shard.behind]
        for shards in ([level] if level else []) + _by_cursor(shard for shard in ready if shard.behind):
            page = await self._read(reader, shards)
            found += len(page.rows)
            more |= page.full
            self._send_all(shards, page)
        if len(level) == len(self.leases.held):
            self._backlogs.clear()  # tens of thousands of ids that nobody needs any more
        await self._wait_a_little()
        return found, more

    async def health(self) -> outbox_backlog.Backlog:
        """What is unpublished and how old, as the tables say; over a connection of its own."""
        connection = await self._connect()
        try:
            return await outbox_backlog.measure(connection)
        finally:
            await connection.close()

    async def _wait_a_little(self) -> None:
        """For the sends of this cycle, so the next read serves all shards; a straggler wakes us later."""
        if not self._new:
            return
        _, late = await asyncio.wait(self._new, timeout=self.pace.straggler_s)
        self._new.clear()
        for task in late:
            task.add_done_callback(lambda _: self.told.set())

    def _is_ready(self, shard: Shard, now: float) -> bool:
        return not shard.busy and not shard.leaving and shard.retry_at <= now < shard.deadline

    async def _read(self, reader: asyncpg.Connection, shards: Sequence[Shard]) -> Page:
        """One page for shards that are level with each other, or at the same place of a backlog."""
        for shard in shards:
            shard.busy = True
        try:
            if not shards[0].behind:
                page = await read_level(reader, {one.part: one.cursor for one in shards}, self.pace.page)
            else:
                page = await self._read_backlog(reader, shards)
        except BaseException:
            for shard in shards:
                shard.busy = False
            raise
        metrics.WINDOW_ROWS.observe(len(page.rows))
        return page

    async def _read_backlog(self, reader: asyncpg.Connection, shards: Sequence[Shard]) -> Page:
        cursor = shards[0].cursor
        backlog = next((one for one in self._backlogs if one.serves(cursor)), None)
        if backlog is None:
            backlog = await Backlog.list(reader, cursor)
            self._backlogs = [backlog, *self._backlogs[:3]]
        parts = [shard.part for shard in shards]
        return await backlog.read(reader, parts, cursor.page_after, self.pace.page)

    def _send_all(self, shards: Sequence[Shard], page: Page) -> None:
        """Each shard's rows are sent by a task of its own: what blocks one does not block another."""
        rows: dict[int, list[Row]] = {shard.part: [] for shard in shards}
        for row in page.rows:
            rows[row["part"]].append(row)
        for shard in shards:
            cursor = page.cursors[shard.part]
            if not rows[shard.part]:
                self._advance(shard, cursor)
                continue
            self._start(self._send(shard, rows[shard.part], cursor), shard)

    def _start(self, work: Coroutine[Any, Any, None], shard: Shard) -> None:
        shard.busy = True
        task = asyncio.create_task(work)
        self._new.add(task)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    def _advance(self, shard: Shard, cursor: Cursor) -> None:
        shard.cursor = cursor
        shard.behind = cursor.page_to is not None
        shard.failures = 0
        shard.busy = False

    async def _send(self, shard: Shard, rows: list[Row], cursor: Cursor) -> None:
        try:
            await self._sending.send(shard, rows)
        except UnavailableError as error:
            self._back_off(shard, str(error))
        except OvertakenError:
            shard.deadline = 0.0
        except Exception as error:
            # A shard must come back whatever happened to it.
            LOG.exception("relay failed", part=shard.part)
            self._back_off(shard, repr(error))
        else:
            shard.check_order(rows)
            self._advance(shard, cursor)
        finally:
            shard.busy = False
            self.leases.save_soon()

    async def _retry_parked(self, shard: Shard) -> None:
        shard.look_again_at = asyncio.get_running_loop().time() + self.pace.retry_look_s
        try:
            await self._sending.send_parked(shard)
        finally:
            shard.busy = False

    def _got_through(self, now: float) -> None:
        """The first to get through after a silence says that the broker is back: nobody waits any longer.

        Without a silence it says nothing about the others: a partition may be away by itself, and trying it
        all the time costs everybody the producer.
        """
        if now - self._through_at > self.pace.send_s:
            for other in self.leases.held.values():
                other.retry_at = min(other.retry_at, now)
            self.told.set()
        self._through_at = now

    def _back_off(self, shard: Shard, error: str) -> None:
        """Failures of the broker or the way to it: for ever, ever slower, and nothing is given up."""
        pace = self.pace
        pause = min(pace.longest_pause_s, pace.first_pause_s * 2 ** min(shard.failures, 16))
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        shard.failures += 1
        shard.behind = True
        shard.retry_at = asyncio.get_running_loop().time() + pause
        LOG.warning("not published", part=shard.part, error=error[:500], pause_s=round(pause, 2))


def _by_cursor(shards: Iterable[Shard]) -> list[list[Shard]]:
    groups: dict[Cursor, list[Shard]] = {}
    for shard in shards:
        groups.setdefault(shard.cursor, []).append(shard)
    return list(groups.values())


async def _refuse_foreign_cursors(connection: asyncpg.Connection) -> None:
    parts = await connection.fetchval(FUTURE_CURSORS)
    if parts:
        raise ForeignCursorError(
            f"the cursors of partitions {parts} are ahead of this cluster's transactions: the database was"
            " restored from a dump; run `kb outbox reset` once for this service"
        )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
