"""Everything fits on a screen or two: the reader is the scarce resource."""

import ast
from pathlib import Path
from statistics import median

import pytest

from tests.support.source import files, functions, text_of, tree_of

LONGEST_FILE = 500
LONGEST_FUNCTION = 45
MEDIAN_FUNCTION = 12

PYTHON = files("*.py")
OURS = tuple(path for path in PYTHON if path.parts[0] in ("services", "contracts", "infra", "bench"))


@pytest.mark.parametrize("path", PYTHON, ids=str)
def test_a_file_is_at_most_500_lines_and_opens_with_its_job(path: Path) -> None:
    assert text_of(path).count("\n") <= LONGEST_FILE
    if text_of(path).strip():
        assert ast.get_docstring(tree_of(path)), "the first line says what the file is for"


def test_no_function_is_over_45_lines() -> None:
    long = [one.where for path in PYTHON for one in functions(path) if one.lines > LONGEST_FUNCTION]
    assert long == []


def test_the_median_function_is_at_most_a_dozen_lines() -> None:
    assert median(one.lines for path in OURS for one in functions(path)) <= MEDIAN_FUNCTION


def test_nothing_is_called_utils() -> None:
    assert [
        str(path) for path in files() if path.stem in ("utils", "util", "helpers", "misc", "common")
    ] == []
