"""The bugs can be planted, each changes something, and the tests that are to catch them exist."""

import ast

import pytest

from tests.mutants.catalogue import ALL, BY_NAME, Mutant
from tests.support.source import ROOT


@pytest.mark.parametrize("mutant", ALL, ids=lambda one: one.name)
def test_a_bug_can_be_planted_and_taken_back(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    planted = list(monkeypatch._setattr)  # noqa: SLF001 - what was there before
    assert planted
    assert all(getattr(owner, name) != before for owner, name, before in planted)


def test_there_are_ten_of_them_with_names_of_their_own() -> None:
    assert len(ALL) == len(BY_NAME) == 10


@pytest.mark.parametrize("test", sorted({test for one in ALL for test in one.tests}))
def test_what_is_to_catch_it_exists(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name.partition("[")[0] in known
