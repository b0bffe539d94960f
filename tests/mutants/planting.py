"""A pytest plugin that plants the bug named in the environment before any test runs."""

import os
from typing import Final

import pytest

from tests.mutants.catalogue import BY_NAME

NAMED: Final = "KB_MUTANT"


def pytest_configure() -> None:
    """Without a name nothing is planted: the tests must pass by themselves first."""
    if name := os.environ.get(NAMED):
        BY_NAME[name].plant(pytest.MonkeyPatch())
