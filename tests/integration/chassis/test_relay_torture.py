"""The relay under torture, each time beside the design it replaced, which must fail."""

from collections.abc import Awaitable, Callable

from tests.conftest import Database
from tests.support.torture.backlog import torture_backlog
from tests.support.torture.failover import torture_failover
from tests.support.torture.reading import torture_reader
from tests.support.torture.writers import Writing

Databases = Callable[[str], Awaitable[Database]]


async def test_a_reader_beside_every_kind_of_transaction_loses_doubles_and_reorders_nothing(
    database: Databases,
) -> None:
    db = await database("orders")
    fared = await torture_reader(db.dsn, db.admin_dsn, Writing(rows=50_000))
    assert fared.relay.flawless, fared.relay
    assert fared.relay.duplicates == 0, fared.relay
    assert fared.by_id.lost > 0, "a cursor of ids survived: the torture is too soft"
    assert fared.below_horizon.reordered > 0, "reading by transaction id survived: the torture is too soft"


async def test_relays_that_freeze_lag_and_die_lose_nothing_and_keep_the_order_of_every_key(
    database: Databases,
) -> None:
    db = await database("orders")
    fared = await torture_failover(db.dsn, db.admin_dsn, seconds=12)
    assert fared.relays.flawless, fared
    assert fared.blows.database_frozen > 0
    assert fared.blows.broker_frozen > 0
    assert fared.blows.killed > 0
    assert fared.relays.duplicates > 0, "nobody overlapped: the torture is too soft"
    assert fared.row_leases.reordered > 0, "row leases survived: the torture is too soft"


async def test_a_backlog_beside_a_pinned_snapshot_costs_the_same_to_the_last_page(
    database: Databases,
) -> None:
    """What makes queues slow is dead rows; there are none, so every page touches as many buffers."""
    db = await database("orders")
    fared = await torture_backlog(db.admin_dsn, backlog=60_000, drain=50_000)
    assert fared.drained == 50_000
    assert fared.last_buffers <= 1.2 * fared.first_buffers, fared
    assert fared.dead_rows == 0
