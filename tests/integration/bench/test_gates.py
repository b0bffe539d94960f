"""Gates 7, 9 and 10 at a length for every day: once each, in order, seen when dead, one key stopped only."""

from collections.abc import Awaitable, Callable

from bench.gate_consumer import torture_consumer
from bench.gate_parking import torture_parking
from bench.gate_visible import WITHIN_S, torture_visibility
from tests.conftest import Database

Databases = Callable[[str], Awaitable[Database]]


async def test_overlapping_owners_with_failures_apply_every_event_once_and_in_order(
    database: Databases,
) -> None:
    db = await database("orders")
    fared = await torture_consumer(db.dsn, db.admin_dsn, "orders", events=2_000)
    assert fared.wrong == fared.held_up == 0, fared
    assert fared.parked > 0, "nothing failed: the torture is too soft"
    assert fared.doubled_without_inbox > 0, "nobody overlapped: the torture is too soft"
    assert fared.held_up_without_parking > 0, "waiting for the poison held nobody up: the torture is too soft"


async def test_a_refused_record_stops_its_key_until_it_is_retried_or_skipped(database: Databases) -> None:
    db = await database("orders")
    fared = await torture_parking(db.dsn, db.admin_dsn)
    assert fared.visible > 0
    assert fared.held_up == fared.overtaken == fared.wrong_after == fared.without_reason == 0, fared
    assert fared.control_held_up > 0, "a relay without parking held nobody up: the torture is too soft"


async def test_a_dead_relay_is_seen_by_those_that_live_and_a_living_one_is_not_taken_for_dead(
    database: Databases,
) -> None:
    db = await database("orders")
    fared = await torture_visibility(db.dsn, rounds=5)
    assert fared.after_s < WITHIN_S, "nobody saw it"
    assert fared.false_alarms == 0
