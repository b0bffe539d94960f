"""A consumer is stuck when there is something to read, nothing is read, and no failure explains it."""

from aiokafka import TopicPartition

from services.chassis.progress import LOOKED_WITHIN_S, STUCK_S, Progress

ONE, OTHER = TopicPartition("payment.returned", 0), TopicPartition("payment.returned", 1)
SOON, LATE = int(STUCK_S), int(STUCK_S) + 1
Place = tuple[TopicPartition, int | None, int]


def looked(progress: Progress, *places: Place, since: int, until: int) -> bool:
    """What a look says at that time, after one each second before."""
    said = [progress.is_stuck(places, second) for second in range(since, until + 1)]
    assert not any(said[:-1])
    return said[-1]


def test_a_partition_that_stands_still_before_its_end_is_stuck_after_a_minute() -> None:
    progress = Progress()
    assert not looked(progress, (ONE, 9, 5), since=0, until=60)
    assert progress.is_stuck([(ONE, 9, 5)], 61)


def test_one_that_moves_or_is_at_its_end_or_was_never_fetched_is_not() -> None:
    progress = Progress()
    assert not looked(progress, (ONE, 9, 5), (OTHER, 5, 5), since=0, until=SOON)
    assert not looked(progress, (ONE, 9, 6), (OTHER, 5, 5), since=LATE, until=LATE + SOON)
    assert not looked(progress, (ONE, 9, 7), (OTHER, None, 5), since=LATE + LATE, until=LATE + LATE + SOON)


def test_a_record_after_a_long_silence_has_its_own_minute() -> None:
    progress = Progress()
    assert not looked(progress, (ONE, 5, 5), since=0, until=10 * SOON)
    assert not looked(progress, (ONE, 6, 5), since=10 * SOON + 1, until=11 * SOON)
    assert progress.is_stuck([(ONE, 6, 5)], 11 * SOON + 1)


def test_another_partition_that_moves_does_not_hide_it() -> None:
    progress = Progress()
    assert not looked(progress, (ONE, 9, 5), (OTHER, 9, 5), since=0, until=SOON)
    assert progress.is_stuck([(ONE, 9, 5), (OTHER, 9, 8)], LATE)


def test_a_partition_that_came_back_is_looked_at_anew() -> None:
    progress = Progress()
    assert not looked(progress, (ONE, 9, 5), since=0, until=SOON - 1)
    assert not progress.is_stuck([], SOON)
    assert not progress.is_stuck([(ONE, 9, 5)], LATE)


def test_time_in_which_nobody_looked_counts_for_nothing() -> None:
    progress, thawed = Progress(), int(LOOKED_WITHIN_S) + LATE
    assert not progress.is_stuck([(ONE, 9, 5)], 0)
    assert not looked(progress, (ONE, 9, 5), since=thawed, until=thawed + SOON)
    assert progress.is_stuck([(ONE, 9, 5)], thawed + LATE)


def test_a_batch_that_fails_again_and_again_is_no_reason_to_end_the_process() -> None:
    progress = Progress()
    assert not looked(progress, (ONE, 9, 5), since=0, until=SOON)
    progress.note_life(LATE)
    assert not looked(progress, (ONE, 9, 5), since=LATE, until=LATE + SOON)
    assert progress.is_stuck([(ONE, 9, 5)], LATE + LATE)
