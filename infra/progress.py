"""Shows a stack coming up: a live table on a terminal, plain lines everywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.supervisor import Report, State

STYLES = {
    State.WAITING: "dim",
    State.STARTING: "yellow",
    State.READY: "green",
    State.DONE: "green",
    State.RESTARTING: "magenta",
    State.FAILED: "bold red",
    State.STOPPED: "dim",
}
QUIET = {State.WAITING, State.STARTING}


def plain(name: str, state: State, detail: str) -> None:
    """One line for what a reader of a log wants to know."""
    if state not in QUIET:
        Console(highlight=False, soft_wrap=True).print(f"{name}: {state} {detail}".rstrip(), markup=False)


def silent(name: str, state: State, detail: str) -> None:
    """For those who look elsewhere."""


@dataclass(slots=True)
class Row:
    state: State
    detail: str
    since: float
    took_s: float | None = None


@contextmanager
def shown(console: Console) -> Iterator[Report]:
    """A report that draws a live table on a terminal until the context ends, and prints lines elsewhere."""
    if not console.is_terminal:
        yield plain
        return
    rows: dict[str, Row] = {}
    with Live(console=console, refresh_per_second=10, get_renderable=lambda: _drawn(rows)):
        yield lambda name, state, detail: _enter(rows, name, state, detail)


def _enter(rows: dict[str, Row], name: str, state: State, detail: str) -> None:
    now = time.monotonic()
    before = rows.get(name)
    since = before.since if before and before.state is State.STARTING else now
    took_s = now - since if state in (State.READY, State.DONE) else None
    rows[name] = Row(state, detail, since, took_s)


def _drawn(rows: dict[str, Row]) -> Table:
    drawn = Table(box=None, show_header=False)
    for name, row in rows.items():
        took = f"{row.took_s:.1f} s" if row.took_s is not None else ""
        drawn.add_row(name, Text(row.state, STYLES[row.state]), took, row.detail.partition("\n")[0])
    return drawn
