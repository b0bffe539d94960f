"""The domain decides without clock or ids of its own; every statement stands in a store."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.source import files, imports, tree_of

SERVICE_FILES = tuple(
    path for path in files("services/**/*.py", "services/*/*.py") if path.parts[1] != "chassis"
)
DOMAIN = tuple(path for path in SERVICE_FILES if path.name == "domain.py" or "domain" in path.parts)
STORES = tuple(path for path in SERVICE_FILES if path.name == "store.py" or "store" in path.parts)
ELSEWHERE = tuple(path for path in SERVICE_FILES if path not in STORES)

STATEMENT = re.compile(
    r"^\s*(select|insert into|update|delete from|with|truncate)\s.*\b(from|into|set|as)\b",
    re.IGNORECASE | re.DOTALL,
)
IMPURE_MODULES = {
    "time",
    "random",
    "secrets",
    "asyncio",
    "asyncpg",
    "os",
    "services.chassis.ids",
    "services.chassis.db",
}
IMPURE_CALLS = re.compile(r"(datetime\.(now|utcnow|today)|date\.today|uuid[1-8]|new_id|time_ns|monotonic)$")


def statements(tree: ast.AST) -> list[str]:
    """String literals that read like SQL."""
    literals = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [text[:60] for text in literals if isinstance(text, str) and STATEMENT.match(text)]


def impurities(tree: ast.AST) -> list[str]:
    """What a pure decision may not use: modules, clocks, ids of its own making, awaiting."""
    found = [name for name in imports(tree) if name in IMPURE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and IMPURE_CALLS.search(ast.unparse(node.func)):
            found.append(ast.unparse(node.func))
        if isinstance(node, ast.Await | ast.AsyncFunctionDef):
            found.append("async")
    return found


@pytest.mark.parametrize("path", ELSEWHERE, ids=str)
def test_sql_stands_only_in_a_store(path: Path) -> None:
    assert statements(tree_of(path)) == []


@pytest.mark.parametrize("path", DOMAIN, ids=str)
def test_the_domain_is_pure(path: Path) -> None:
    assert impurities(tree_of(path)) == []


def test_there_is_a_domain_and_a_store_to_look_at() -> None:
    assert len(DOMAIN) >= 3
    assert len(STORES) >= 3


@pytest.mark.parametrize(
    "planted",
    ["now = datetime.now(UTC)", "i = uuid4()", "import time", "from services.chassis.ids import new_id"],
)
def test_the_rule_sees_an_impurity(planted: str) -> None:
    assert impurities(ast.parse(planted)) != []


@pytest.mark.parametrize("planted", ["q = 'select id from orders'", "q = 'update orders set status = $1'"])
def test_the_rule_sees_a_statement(planted: str) -> None:
    assert statements(ast.parse(planted)) != []
