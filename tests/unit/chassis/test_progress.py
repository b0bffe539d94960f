"""A consumer is stuck when there is something to read, nothing is read, and no failure explains it."""

from aiokafka import TopicPartition

from services.chassis.progress import STUCK_S, Progress

ONE, OTHER = TopicPartition("payment.returned", 0), TopicPartition("payment.returned", 1)
SOON, LATE = STUCK_S, STUCK_S + 1


def test_a_partition_that_stands_still_before_its_end_is_stuck() -> None:
    progress = Progress()
    assert not progress.is_stuck([(ONE, 9, 5)], 0)
    assert not progress.is_stuck([(ONE, 9, 5)], SOON)
    assert progress.is_stuck([(ONE, 9, 5)], LATE)


def test_one_that_moves_or_is_at_its_end_or_was_never_fetched_is_not() -> None:
    progress = Progress()
    assert not progress.is_stuck([(ONE, 9, 5), (OTHER, 5, 5)], 0)
    assert not progress.is_stuck([(ONE, 9, 6), (OTHER, 5, 5)], LATE)
    assert not progress.is_stuck([(ONE, 9, 6), (OTHER, None, 5)], LATE + SOON)


def test_another_partition_that_moves_does_not_hide_it() -> None:
    progress = Progress()
    assert not progress.is_stuck([(ONE, 9, 5), (OTHER, 9, 5)], 0)
    assert progress.is_stuck([(ONE, 9, 5), (OTHER, 9, 8)], LATE)


def test_a_partition_that_came_back_is_looked_at_anew() -> None:
    progress = Progress()
    assert not progress.is_stuck([(ONE, 9, 5)], 0)
    assert not progress.is_stuck([], SOON)
    assert not progress.is_stuck([(ONE, 9, 5)], LATE)


def test_batches_that_fail_are_no_reason_to_end_the_process() -> None:
    progress = Progress()
    assert not progress.is_stuck([(ONE, 9, 5)], 0)
    progress.note_failure(LATE)
    assert not progress.is_stuck([(ONE, 9, 5)], LATE)
    assert not progress.is_stuck([(ONE, 9, 5)], LATE + SOON)
    assert progress.is_stuck([(ONE, 9, 5)], LATE + LATE)
