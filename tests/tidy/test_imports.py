"""Who may know whom: services know the chassis and the contracts, never each other."""

import ast
from pathlib import Path

import pytest

from tests.support.source import files, imports, tree_of

SERVICES = ("orders", "inventory", "payments", "bookings", "notifications", "gateway")
# They play payers at the simulator, which stands in for a third party and not for us.
PLAYS = {("infra", "demo"), ("infra", "replay")}
FILES = files("services/**/*.py", "contracts/**/*.py", "contracts/*.py", "infra/**/*.py", "infra/*.py")


def forbidden(path: Path, tree: ast.AST) -> list[str]:
    """The imports of this file that its place does not allow."""
    return sorted({name for name in imports(tree) if not _allowed(path, name)})


def _allowed(path: Path, name: str) -> bool:
    place, parts = path.parts, name.split(".")
    if parts[0] in ("tests", "bench"):
        return place[:2] in PLAYS and name.startswith("tests.fakes")
    if place[0] == "contracts":
        return parts[0] not in ("services", "infra")
    if place[0] == "services":
        known = {"chassis", place[1]}
        return parts[0] != "infra" and (parts[0] != "services" or len(parts) < 2 or parts[1] in known)
    if place[:2] == ("infra", "audit"):
        return parts[0] not in ("services", "contracts")
    return True


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_what_its_place_allows(path: Path) -> None:
    assert forbidden(path, tree_of(path)) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("services/orders/actions.py", "from services.payments import domain"),
        ("services/chassis/db.py", "import services.orders.store"),
        ("services/orders/store.py", "from infra import topics"),
        ("contracts/orders.py", "from services.chassis import ids"),
        ("infra/audit/orders.py", "from contracts import topics"),
        ("services/orders/api.py", "from tests.support import records"),
    ],
)
def test_the_rule_sees_a_stranger(place: str, line: str) -> None:
    assert forbidden(Path(place), ast.parse(line)) != []
