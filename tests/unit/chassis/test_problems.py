"""The catalogue of refusals: every code the code speaks of is in it, with the status it is raised with."""

import ast
import re

import pytest

from contracts.problems import CATALOGUE, ProblemType
from tests.support.source import files, tree_of

SOURCES = files("services/**/*.py", "services/*.py")
CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def raised(tree: ast.AST) -> list[tuple[int | None, str]]:
    """The (status, code) of every `Problem(...)` and the (None, code) of every `Refused(...)` written out."""
    found: list[tuple[int | None, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            values = [one.value if isinstance(one, ast.Constant) else None for one in node.args]
            if node.func.id == "Problem" and len(values) > 1 and isinstance(values[1], str):
                found.append((values[0] if isinstance(values[0], int) else None, values[1]))
            if node.func.id == "Refused" and values and isinstance(values[0], str):
                found.append((None, values[0]))
    return found


SAID = sorted({(path, *one) for path in SOURCES for one in raised(tree_of(path))}, key=str)


@pytest.mark.parametrize(("path", "status", "code"), SAID, ids=str)
def test_a_code_is_in_the_catalogue(path: object, status: int | None, code: str) -> None:
    assert code in CATALOGUE, path
    assert status is None or 400 <= status < 600


def test_the_code_is_read_at_all() -> None:
    assert len(SAID) > 40


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_code_is_plain_and_its_slug_names_it_alone(code: str) -> None:
    assert CODE.fullmatch(code)
    assert ProblemType.slug(code).replace("-", "_").upper() == code
    assert CATALOGUE[code].title
    assert 400 <= CATALOGUE[code].status < 600
