"""The harness itself: what takes effect once passes, and what only seems to is found out."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest

from contracts.payments import PaymentReturned
from services.chassis.consumer import Consumer
from services.chassis.db import Tx
from services.chassis.decisions import Unchanged, Verdicts
from services.chassis.listener import Listener
from tests.support.crash.fate import Blow, Way, When, blows
from tests.support.crash.ground import Ground
from tests.support.crash.trying import Tried, try_everywhere
from tests.support.crash.work import Hearing

EFFECTS = """
    create table effects (key uuid not null);
    grant select, insert on effects to kb_notifications;
"""
INSERT = "insert into effects (key) select * from unnest($1::uuid[])"
Handle = Callable[[Tx, Sequence[PaymentReturned]], Awaitable[Verdicts[Any]]]
DONE: Final = Unchanged()


@dataclass(frozen=True, slots=True)
class Bench:
    """A database with a table for effects, and a consumer whose one handler is tried there."""

    dsn: str
    admin: asyncpg.Connection

    async def try_handler(self, handle: Handle) -> Tried:
        """Three returns of two payers are heard."""
        consumer = Consumer("notifications")
        consumer.on(PaymentReturned)(handle)
        first, second = uuid4(), uuid4()
        events = [
            PaymentReturned(subject_id=key, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")
            for key in (first, second, first)
        ]
        return await try_everywhere(Ground(self.admin), self.dsn, Hearing(consumer, events))


@pytest.fixture
async def bench(database: Callable[[str], Awaitable[Any]]) -> AsyncIterator[Bench]:
    made = await database("notifications")
    admin = await asyncpg.connect(made.admin_dsn)
    await admin.execute(EFFECTS)
    yield Bench(made.dsn, admin)
    await admin.close()


async def write(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
    """Trusts the chassis: it has no guard of its own."""
    await tx.execute(INSERT, [one.subject_id for one in events])
    return Verdicts((DONE,) * len(events))


async def test_a_handler_without_any_guard_of_its_own_takes_effect_once(bench: Bench) -> None:
    tried = await bench.try_handler(write)
    assert tried.wrong == []
    assert [step.partition(" ")[0] for step in tried.steps] == [
        "BEGIN;",
        "with",  # the inbox, and whether anything is blocked
        "insert",  # the effect
        "COMMIT;",
        "(commit",  # the offsets
    ]
    assert tried.runs == 12


async def test_a_handler_that_writes_outside_its_transaction_is_found_out(bench: Bench) -> None:
    async def write_at_once(_: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        connection = await asyncpg.connect(bench.dsn)
        await connection.execute(INSERT, [one.subject_id for one in events])
        await connection.close()
        return Verdicts((DONE,) * len(events))

    tried = await bench.try_handler(write_at_once)
    assert any("killed before" in one and "too many" in one for one in tried.wrong), tried.wrong


async def test_a_handler_that_remembers_what_it_did_is_found_out(bench: Bench) -> None:
    done: set[object] = set()

    async def write_unless_known(tx: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        new = [one for one in events if one.envelope.id not in done]
        done.update(one.envelope.id for one in new)
        return await write(tx, new) if new else Verdicts((DONE,) * len(events))

    tried = await bench.try_handler(write_unless_known)
    assert any("missing" in one for one in tried.wrong), tried.wrong


async def test_offsets_that_are_committed_first_are_found_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def on_batch(self: Listener, msg: Any) -> None:  # noqa: ANN401
        await msg.ack()
        await self._hear_all(msg.raw_message)

    monkeypatch.setattr(Listener, "_on_batch", on_batch)
    tried = await bench.try_handler(write)
    assert any("killed" in one and "missing" in one for one in tried.wrong), tried.wrong


async def test_work_that_does_nothing_is_found_out(bench: Bench) -> None:
    async def ignore(_: Tx, events: Sequence[PaymentReturned]) -> Verdicts[Any]:
        return Verdicts((DONE,) * len(events))

    tried = await bench.try_handler(ignore)
    assert tried.wrong == ["it does nothing here"]


def test_every_step_has_its_blows() -> None:
    found = blows(["BEGIN;", "select 1", "COMMIT;", "(commit the offsets)"])
    assert found == [
        Blow(0, When.BEFORE, Way.KILLED),
        Blow(0, When.BEFORE, Way.CUT),
        Blow(1, When.BEFORE, Way.KILLED),
        Blow(1, When.BEFORE, Way.CUT),
        Blow(2, When.BEFORE, Way.KILLED),
        Blow(2, When.BEFORE, Way.CUT),
        Blow(2, When.AFTER, Way.KILLED),
        Blow(2, When.AFTER, Way.CUT),
        Blow(3, When.BEFORE, Way.KILLED),
        Blow(3, When.AFTER, Way.KILLED),
    ]
