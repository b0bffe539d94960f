"""The journal of a replay: what was noted is known again, and a crash costs no more than its last line."""

from pathlib import Path

import pytest

from infra.replay.journal import Journal, Placed, UnreadableJournalError

FIRST, SECOND = Placed("checkout-1", "reference-1", done=True), Placed("checkout-2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with two orders in it."""
    path = tmp_path / "folder" / "replay.jsonl"
    with Journal(path) as journal:
        journal.note_catalogue()
        journal.note("one", Placed("checkout-1"))
        journal.note("one", FIRST)
        journal.note("two", SECOND)
    return path


def test_what_was_noted_is_known_again(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.catalogue
        assert journal.placed == {"one": FIRST, "two": SECOND}


def test_a_new_journal_knows_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "replay.jsonl") as journal:
        assert (journal.placed, journal.catalogue, journal.given_up) == ({}, False, set())


def test_wherever_the_last_line_is_cut_the_others_stand_and_the_next_is_whole(path: Path) -> None:
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(last, len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert journal.placed == {"one": FIRST}
            journal.note("three", SECOND)
        with Journal(path) as journal:
            assert journal.placed == {"one": FIRST, "three": SECOND}


def test_a_checkout_placed_once_more_is_remembered_as_given_up(path: Path) -> None:
    with Journal(path) as journal:
        journal.note("two", Placed("checkout-3"))
    with Journal(path) as journal:
        assert journal.placed["two"] == Placed("checkout-3")
        assert journal.given_up == {"checkout-2"}


@pytest.mark.parametrize("line", ["not json", "[]", "{}", '{"order": "x", "surprise": 1}', '{"order": "x"}'])
def test_a_line_of_something_else_is_named(path: Path, line: str) -> None:
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(UnreadableJournalError, match=r"replay.jsonl:1: "):
        Journal(path)
