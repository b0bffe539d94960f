"""Shows a stack coming up: a live table on a terminal, plain lines everywhere else."""

import time
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.supervisor import State

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


class Progress:
    """Draws a live table on a terminal until it is closed; prints lines elsewhere, and after that."""

    def __init__(self, console: Console) -> None:
        self._rows: dict[str, Row] = {}
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=10, get_renderable=self._drawn)
            self._live.start()

    def told(self, name: str, state: State, detail: str) -> None:
        """The report a stack is given."""
        if self._live is None:
            plain(name, state, detail)
        elif state is State.FAILED or state is State.STOPPED:
            self.close()  # what is said now must stay on the screen
            plain(name, state, detail)
        else:
            self._rows[name] = _row(self._rows.get(name), state, detail)

    def close(self) -> None:
        """Leaves the table as it is; what follows are lines."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _drawn(self) -> Table:
        drawn = Table(box=None, show_header=False)
        for name, row in self._rows.items():
            took = f"{row.took_s:.1f} s" if row.took_s is not None else ""
            drawn.add_row(name, Text(row.state, STYLES[row.state]), took, row.detail.partition("\n")[0])
        return drawn


def _row(before: Row | None, state: State, detail: str) -> Row:
    now = time.monotonic()
    since = before.since if before and before.state is State.STARTING else now
    took_s = now - since if state in (State.READY, State.DONE) else None
    return Row(state, detail, since, took_s)
