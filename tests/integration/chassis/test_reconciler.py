"""Rounds of healing: one process at a time, in time, pausable by all, and a dry run that leaves nothing."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY

from contracts.inventory import StockReleased
from services.chassis import outbox, reconciler_runs
from services.chassis.db import Database, Tx
from services.chassis.decisions import Outgoing
from services.chassis.reconciler import (
    STUCK,
    Ran,
    Reconciler,
    Skipped,
    attempt,
    dry_run,
    every,
    keep_running,
    take_turn,
)
from tests.conftest import Database as Made
from tests.support import healing
from tests.support.source import ROOT
from tests.support.waiting import until

WORK = """
    create table work (
        id int primary key, due_at timestamptz not null, moved_in timestamptz, times int not null default 0);
    grant select, update on work to kb_inventory;
"""
MOVE = """
    update work set moved_in = $1, times = times + 1
    where moved_in is null and due_at <= $1
    returning id
"""


async def read(_: Sequence[str]) -> bool:
    return True


async def unread(_: Sequence[str]) -> bool:
    return False


@every(seconds=0.2)
async def move_work(tx: Tx, now: datetime) -> int:
    """What is due moves."""
    return len(await tx.fetch(MOVE, now))


@dataclass(frozen=True, slots=True)
class Two:
    """Two processes on one database: each has a pool of its own."""

    one: Database
    other: Database
    admin_dsn: str

    async def as_admin(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            if not arguments and ";" in statement:
                await connection.execute(statement)
                return []
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    async def due(self, count: int = 1) -> None:
        await self.as_admin(
            "insert into work (id, due_at) select id, now() from generate_series(1, $1::int) as id", count
        )

    async def moved(self) -> list[int]:
        return [
            row["times"] for row in await self.as_admin("select times from work where moved_in is not null")
        ]

    async def row(self, duty: Reconciler) -> dict[str, Any]:
        found = await self.as_admin("select * from reconciler_runs where name = $1", duty.name)
        return dict(found[0]) if found else {}

    async def paused(self, duty: Reconciler, for_s: float = 60) -> None:
        async with self.one.transaction() as tx:
            await reconciler_runs.pause(tx, duty.name, for_s, uuid4(), "looking into it")


@pytest.fixture
async def two(database: Callable[[str], Awaitable[Made]]) -> AsyncIterator[Two]:
    made = await database("inventory")
    one, other = (Database(made.dsn, name=name, size=4) for name in ("one", "other"))
    found = Two(one, other, made.admin_dsn)
    await found.as_admin(WORK)
    yield found
    await one.close()
    await other.close()


async def test_a_stuck_thing_moves_in_the_first_round_after_its_deadline(two: Two) -> None:
    """On the database's clock: the deadline lies ahead while both processes take their turns."""
    rounds: list[datetime] = []

    async def noting(tx: Tx, now: datetime) -> int:
        rounds.append(now)
        return await move_work.heal(tx, now)

    stopping, duty = asyncio.Event(), replace(move_work, heal=noting)
    running = [asyncio.create_task(keep_running(duty, db, read, stopping)) for db in (two.one, two.other)]
    try:
        await until(lambda: _ran(rounds, 2), what="the rounds go on")
        await two.as_admin("insert into work (id, due_at) values (1, now() + interval '1 s')")
        await until(lambda: _has_moved(two), what="the stuck thing moves")
    finally:
        stopping.set()
        await asyncio.gather(*running)
    [row] = await two.as_admin("select due_at, moved_in from work")
    assert row["moved_in"] == min(now for now in rounds if now >= row["due_at"])
    assert await two.moved() == [1]


async def _ran(rounds: list[datetime], count: int) -> bool:
    return len(rounds) >= count


async def _has_moved(two: Two) -> bool:
    return bool(await two.moved())


async def test_while_one_process_runs_it_the_other_does_not(two: Two) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(tx: Tx, now: datetime) -> int:
        begun.set()
        await go_on.wait()
        return await move_work.heal(tx, now)

    await two.due(3)
    first = asyncio.create_task(take_turn(replace(move_work, heal=slowly), two.one, read))
    await begun.wait()
    assert await take_turn(move_work, two.other, read) is Skipped.LED_ELSEWHERE
    go_on.set()
    assert await first == Ran(3)
    assert await take_turn(move_work, two.other, read) in (Skipped.NOT_YET, Ran(0))
    assert await two.moved() == [1, 1, 1]


async def test_a_round_belongs_to_whoever_comes_first(two: Two) -> None:
    duty = replace(move_work, every_s=600)
    await two.due()
    assert await take_turn(duty, two.one, read) == Ran(1)
    assert await take_turn(duty, two.other, read) is Skipped.NOT_YET
    assert await take_turn(duty, two.one, read) is Skipped.NOT_YET
    row = await two.row(duty)
    assert 0.8 * 600 <= (row["next_run_at"] - row["last_run_at"]).total_seconds() <= 1.2 * 600


async def test_two_that_woke_together_run_it_once(two: Two) -> None:
    """The other has seen that it is its turn, and is held up until the first has had it."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(_: Sequence[str]) -> bool:
        asked.set()
        await go_on.wait()
        return True

    duty = replace(move_work, every_s=600, once_read=("payment.verified",))
    other = asyncio.create_task(take_turn(duty, two.other, held_up))
    await asked.wait()
    assert await take_turn(duty, two.one, read) == Ran(0)
    await two.due()
    go_on.set()
    assert await other is Skipped.NOT_YET
    assert await two.moved() == []


async def test_a_round_that_lies_too_far_ahead_is_not_waited_for(two: Two) -> None:
    """A database that came from elsewhere, or a duty that was made quicker."""
    assert await take_turn(replace(move_work, every_s=600), two.one, read) == Ran(0)
    assert await take_turn(replace(move_work, every_s=1), two.other, read) == Ran(0)


async def test_a_pause_is_obeyed_by_all_and_ends_by_itself(two: Two) -> None:
    await two.due()
    await two.paused(move_work)
    for db in (two.one, two.other):
        assert await take_turn(move_work, db, read) is Skipped.PAUSED
    assert await two.moved() == []
    assert REGISTRY.get_sample_value("kb_reconciler_paused", {"reconciler": "move_work"}) == 1
    await two.as_admin("update reconciler_runs set paused_at = now() - interval '2 h', paused_until = now()")
    assert await take_turn(move_work, two.other, read) == Ran(1)
    assert REGISTRY.get_sample_value("kb_reconciler_paused", {"reconciler": "move_work"}) == 0


async def test_when_a_pause_is_answered_no_run_is_left(two: Two) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(tx: Tx, now: datetime) -> int:
        begun.set()
        await go_on.wait()
        return await move_work.heal(tx, now)

    await two.due()
    run = asyncio.create_task(take_turn(replace(move_work, heal=slowly), two.other, read))
    await begun.wait()
    pausing = asyncio.create_task(two.paused(move_work))
    await until(lambda: _waits_for_a_lock(two), what="the pause waits for the run")
    assert not pausing.done()
    go_on.set()
    await pausing
    assert run.done() or await run == Ran(1)
    assert await two.moved() == [1]
    assert await take_turn(move_work, two.one, read) is Skipped.PAUSED


async def _waits_for_a_lock(two: Two) -> bool:
    return bool(await two.as_admin("select from pg_locks where locktype = 'advisory' and not granted"))


async def test_no_pause_lasts_for_ever_or_is_unsigned(two: Two) -> None:
    forever = "update reconciler_runs set paused_until = paused_at + interval '25 hours'"
    unsigned = "update reconciler_runs set paused_reason = null"
    await two.paused(move_work)
    for statement in (forever, unsigned):
        with pytest.raises(asyncpg.CheckViolationError):
            await two.as_admin(statement)


async def test_a_run_by_hand_is_done_also_in_a_pause(two: Two) -> None:
    await two.due()
    await two.paused(move_work)
    assert await attempt(move_work, two.other, read) == Ran(1)
    assert (await two.row(move_work))["paused_reason"] == "looking into it"


async def test_resuming_lets_the_next_that_looks_run(two: Two) -> None:
    await two.due()
    duty = replace(move_work, every_s=600)
    await take_turn(duty, two.one, read)
    await two.paused(duty)
    async with two.other.transaction() as tx:
        assert await reconciler_runs.resume(tx, duty.name)
        assert not await reconciler_runs.resume(tx, duty.name)
    assert await take_turn(duty, two.one, read) == Ran(0)


async def test_a_dry_run_says_what_it_would_do_and_leaves_nothing(two: Two) -> None:
    order_id = uuid4()

    async def tells(tx: Tx, now: datetime) -> int:
        found = await move_work.heal(tx, now)
        fact = StockReleased(order_id=order_id, hold_no=1, lines=())
        await outbox.tell(tx, [Outgoing(fact, 1)])
        return found

    await two.due(2)
    outcome = await dry_run(replace(move_work, heal=tells), two.one, read)
    assert outcome == Ran(2, (("stock.released", str(order_id)),))
    assert await two.moved() == []
    assert await two.as_admin("select from outbox") == []
    assert await two.row(move_work) == {}
    assert not two.one.told.is_set()
    assert await attempt(move_work, two.other, read) == Ran(2)


async def test_a_duty_that_reads_first_waits_until_all_is_read(two: Two) -> None:
    await two.due()
    careful = replace(move_work, once_read=("payment.verified",))
    for run in (take_turn, attempt, dry_run):
        assert await run(careful, two.one, unread) is Skipped.BEHIND
    assert await two.moved() == []


async def test_a_failed_run_is_counted_recorded_and_tried_again_by_anybody(two: Two) -> None:
    async def breaks(_: Tx, __: datetime) -> int:
        raise RuntimeError("no such thing")

    failed = {"reconciler": "move_work", "outcome": "failed"}
    before = REGISTRY.get_sample_value("kb_reconciler_runs_total", failed) or 0
    assert await take_turn(replace(move_work, heal=breaks), two.one, read) is None
    assert REGISTRY.get_sample_value("kb_reconciler_runs_total", failed) == before + 1
    row = await two.row(move_work)
    assert "no such thing" in row["last_error"]
    assert row["last_success_at"] is None
    assert await take_turn(move_work, two.other, read) == Ran(0)
    assert (await two.row(move_work))["last_error"] is None


async def test_an_alarm_counts_what_it_finds_as_found_and_not_as_healed(two: Two) -> None:
    label = {"reconciler": "move_work"}
    names = ("kb_reconciler_found_total", "kb_healed_total")
    before = [REGISTRY.get_sample_value(name, label) or 0 for name in names]
    await two.due(2)
    await take_turn(replace(move_work, alarm=STUCK.labels("work")), two.one, read)
    after = [REGISTRY.get_sample_value(name, label) or 0 for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 0]


async def test_every_process_shows_what_waits_as_whoever_looked_last_has_found_it(two: Two) -> None:
    """Otherwise a process that looked long ago would call somebody for ever."""
    duty, kind = replace(move_work, every_s=600, alarm=STUCK.labels("work")), {"kind": "work"}
    await two.due(2)
    await take_turn(duty, two.one, read)
    assert REGISTRY.get_sample_value("kb_stuck_work", kind) == 2
    await two.as_admin("update reconciler_runs set last_found = 0")  # another process has looked
    assert await take_turn(duty, two.other, read) is Skipped.NOT_YET
    assert REGISTRY.get_sample_value("kb_stuck_work", kind) == 0


async def test_every_process_shows_when_any_of_them_last_ran_it(two: Two) -> None:
    duty = replace(move_work, every_s=600)
    await take_turn(duty, two.one, read)
    await two.as_admin("update reconciler_runs set last_success_at = 'epoch'::timestamptz + interval '7 s'")
    await take_turn(duty, two.other, read)
    label = {"reconciler": "move_work"}
    assert REGISTRY.get_sample_value("kb_reconciler_last_success_timestamp_seconds", label) == 7


async def test_a_duty_is_silent_after_three_rounds_and_half_a_minute_unless_it_is_paused(two: Two) -> None:
    duty = replace(move_work, every_s=10)
    known = [(duty.name, duty.every_s), ("never_ran", 10.0)]

    async def silent() -> list[str]:
        async with two.one.transaction() as tx:
            return [one.name for one in await reconciler_runs.statuses(tx, known) if one.silent]

    await take_turn(duty, two.one, read)
    await two.as_admin("update schema_migrations set applied_at = now()")
    assert await silent() == []
    await two.as_admin("update reconciler_runs set last_success_at = now() - interval '59 s'")
    assert await silent() == []
    await two.as_admin("update reconciler_runs set last_success_at = now() - interval '61 s'")
    await two.as_admin("update schema_migrations set applied_at = now() - interval '61 s'")
    assert await silent() == ["move_work", "never_ran"]
    await two.paused(duty)
    assert await silent() == ["never_ran"]


# ---------------------------------------------------------------------------- two processes

WORLD = """
    create table moves (id int not null, pid int not null);
    create table runs (pid int not null, at timestamptz not null default clock_timestamp());
    grant select, insert on moves, runs to kb_inventory;
"""


@asynccontextmanager
async def process_of(two: Two) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that heals, killed at the end if it has not ended before."""
    command = (sys.executable, "-m", healing.__name__, two.one.dsn)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_two_processes_share_the_rounds_and_one_goes_on_when_the_other_is_killed(two: Two) -> None:
    await two.as_admin(WORLD)
    await two.due(50)
    async with process_of(two) as first, process_of(two) as second:
        await until(lambda: _have_run(two, {first.pid, second.pid}), what="both have had a round")
        first.kill()
        await first.wait()
        await two.as_admin("delete from runs where pid = $1", second.pid)
        await two.as_admin(
            "insert into work (id, due_at) select id, now() from generate_series(51, 60) as id"
        )
        await until(lambda: _have_run(two, {second.pid}), what="the other goes on")
        await until(lambda: _all_moved(two, 60), what="everything is moved")
        second.terminate()
        assert await second.wait() == 0
    moves = await two.as_admin("select id from moves order by id")
    assert [row["id"] for row in moves] == list(range(1, 61))


async def test_two_processes_obey_a_pause(two: Two) -> None:
    await two.as_admin(WORLD)
    async with process_of(two) as first, process_of(two) as second:
        both = {first.pid, second.pid}
        await until(lambda: _have_run(two, both), what="both have had a round")
        await two.paused(healing.move_once)
        await two.due(5)
        runs = len(await two.as_admin("select from runs"))
        [row] = await two.as_admin("select now()")
        await until(lambda: _have_looked(two, row["now"]), what="both have looked again")
        assert len(await two.as_admin("select from runs")) == runs
        assert await two.as_admin("select from moves") == []
        async with two.one.transaction() as tx:
            await reconciler_runs.resume(tx, healing.move_once.name)
        await until(lambda: _all_moved(two, 5), what="after the pause it goes on")


async def _have_run(two: Two, pids: set[int]) -> bool:
    return pids <= {row["pid"] for row in await two.as_admin("select distinct pid from runs")}


async def _all_moved(two: Two, count: int) -> bool:
    return len(await two.as_admin("select distinct id from moves")) == count


LOOKED = """
    select distinct application_name from pg_stat_activity
    where datname = current_database() and application_name like 'healing%' and query_start > $1
"""


async def _have_looked(two: Two, since: datetime) -> bool:
    """Whether both processes have asked for their turn; each has its own application name."""
    return len(await two.as_admin(LOOKED, since)) == len((two.one, two.other))
