"""Which engine must catch which bug: the cheapest one that has a chance."""

from dataclasses import dataclass
from typing import Final

from tests.mutants import planted
from tests.mutants.planted import Plant

HARNESS: Final = "tests/integration/crash/test_harness.py"
ORDERS: Final = "tests/integration/crash/test_orders.py"
RELAY: Final = "tests/integration/crash/test_relay.py"
RACES: Final = "tests/integration/crash/test_races.py"
ANYWHERE: Final = "test_ended_at_any_step_and_done_again_it_takes_effect_once"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug, the engine that is to catch it, and which of its tests are run."""

    name: str
    plant: Plant
    engine: str
    tests: tuple[str, ...]


def _by_crashes(name: str, plant: Plant, *scenarios: str) -> Mutant:
    chosen = tuple(f"{ORDERS}::{ANYWHERE}[{one}]" for one in scenarios)
    return Mutant(name, plant, "crash harness", chosen)


ALL: Final = (
    Mutant(
        "no inbox",
        planted.no_inbox,
        "crash harness",
        (f"{HARNESS}::test_a_handler_without_any_guard_of_its_own_takes_effect_once",),
    ),
    _by_crashes("inbox in its own transaction", planted.inbox_in_its_own_transaction, "payment.verified"),
    _by_crashes("ack before work", planted.ack_before_work, "payment.verified"),
    _by_crashes("publish before commit", planted.publish_before_commit, "payment.verified"),
    Mutant(
        "outbox read by id",
        planted.outbox_read_by_id,
        "relay under crashes",
        (f"{RELAY}::test_what_was_told_first_and_committed_last_is_published",),
    ),
    Mutant(
        "no lock in the roll-up",
        planted.no_lock_in_the_roll_up,
        "races on real rows",
        (f"{RACES}::test_a_roll_up_waits_for_another_one_of_its_order_and_finds_it_done",),
    ),
    Mutant(
        "SKIP LOCKED in the roll-up",
        planted.skip_locked_in_the_roll_up,
        "races on real rows",
        (f"{RACES}::test_a_roll_up_waits_for_another_one_of_its_order_and_finds_it_done",),
    ),
    _by_crashes("expiry from process memory", planted.expiry_from_process_memory, "expire_unpaid"),
    Mutant(
        "reconciler without compare-and-set",
        planted.reconciler_without_compare_and_set,
        "races on real rows",
        (f"{RACES}::test_a_checkout_that_is_being_paid_while_the_clock_looks_is_not_ended",),
    ),
    _by_crashes("retry that swallows an error", planted.retry_that_swallows_an_error, "payment.verified"),
)
BY_NAME: Final = {one.name: one for one in ALL}
