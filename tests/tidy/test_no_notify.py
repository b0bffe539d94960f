"""No NOTIFY in a business transaction: there it holds a lock of the whole server until the commit is on disk.

Measured with 32 writers and a 1 ms flush, it leaves 9 % of the throughput. One module may notify, on a
connection of its own and outside every transaction; that nothing else gets there another way, the statement
log of a server shows (`tests/integration/chassis/test_wake.py`).
"""

import ast
import re
from pathlib import Path

import pytest

from tests.support.source import imports

SERVICES = Path(__file__).parents[2] / "services"
NOTIFIER = SERVICES / "chassis" / "wake.py"
NOTIFY = re.compile(
    r"\bpg_notify\s*\(|^\s*[\"']*\s*notify\s+\w|f?[\"']\s*notify\s+[\w{]", re.IGNORECASE | re.MULTILINE
)
TRANSACTION = re.compile(r"\.transaction\s*\(|\bTx\b|[\"']\s*begin\b", re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        "select pg_notify('outbox', '')",
        "    notify outbox",
        'execute("NOTIFY outbox")',
        'HINT = f"notify {CHANNEL}"',
        "perform pg_notify($1)",
    ],
)
def test_the_rule_sees_a_notification(text: str) -> None:
    assert NOTIFY.search(text)


@pytest.mark.parametrize(
    "path",
    sorted({*SERVICES.rglob("*.py"), *SERVICES.rglob("*.sql")} - {NOTIFIER}),
    ids=lambda path: str(path.relative_to(SERVICES)),
)
def test_nothing_else_notifies(path: Path) -> None:
    assert not NOTIFY.findall(path.read_text())


@pytest.mark.parametrize("text", ["async with db.transaction() as tx:", "def f(tx: Tx):", "'BEGIN'"])
def test_the_rule_sees_a_transaction(text: str) -> None:
    assert TRANSACTION.search(text)


def test_the_notifier_knows_no_transaction() -> None:
    text = NOTIFIER.read_text()
    assert NOTIFY.search(text), "who notifies now?"
    assert not TRANSACTION.findall(text)
    assert not [
        name
        for name in imports(ast.parse(text))
        if name.startswith(("services.chassis.db", "services.chassis.outbox"))
    ]
