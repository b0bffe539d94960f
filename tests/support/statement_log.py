"""What a PostgreSQL server was asked, transaction by transaction, as its statement log says."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

LOGGING = ("log_statement=all", "log_line_prefix=<%p %v> ", "log_min_duration_statement=-1")
"""Settings of a server whose log can be read here: process and virtual transaction before every line."""

ENTRY = re.compile(
    r"^<(?P<pid>\d+) (?P<transaction>\S*)> LOG:  (?:statement|execute [^:]*): (?P<text>.*(?:\n\t.*)*)",
    re.MULTILINE,
)
NOTIFY = re.compile(r"^\s*notify\b|\bpg_notify\s*\(", re.IGNORECASE)

Transactions = Mapping[tuple[str, str], Sequence[str]]


def transactions(log: Path) -> Transactions:
    """The statements of every transaction, in order, by process and virtual transaction id."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in ENTRY.finditer(log.read_text(errors="replace")):
        found[entry["pid"], entry["transaction"]].append(entry["text"])
    return found


def hints(asked: Transactions) -> int:
    """Notifications that were all their transaction did."""
    return sum(len(one) == 1 and bool(NOTIFY.search(one[0])) for one in asked.values())


def notifying(asked: Transactions) -> list[Sequence[str]]:
    """Transactions that notified and did something else, too: their commit held everybody up."""
    return [
        one for one in asked.values() if len(one) > 1 and any(NOTIFY.search(statement) for statement in one)
    ]
