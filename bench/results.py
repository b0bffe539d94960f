"""What a command found: one table for people, JSON lines for machines, gates for the exit code."""

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import machine
from bench.ground import Ground

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / ".run" / "bench" / "results.jsonl"
WHOLE_FROM = 100
QUIET = 0.85
LIBRARIES = ("aiokafka", "asyncpg", "faststream", "pydantic", "uvloop", "orjson")


@dataclass(frozen=True, slots=True)
class Gate:
    """A figure with its floor, and what we aim for."""

    name: str
    value: float
    sense: Literal["at least", "at most"]
    floor: float
    aim: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its floor."""
        return self.value >= self.floor if self.sense == "at least" else self.value <= self.floor

    def __str__(self) -> str:
        aim = "" if self.aim is None else f" (aim {self.aim:g})"
        found = f"{self.name}: {self.value:.3g}, {self.sense} {self.floor:g}{aim}"
        return f"{'met   ' if self.met else 'MISSED'} {found}"


@dataclass(slots=True)
class Report:
    """One command's findings."""

    command: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    """What goes into the results file, a line each."""
    gates: list[Gate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object, **figures: object) -> None:
        """A row of the table, and the same in full for the results file."""
        self.rows.append(cells)
        self.figures.append(figures or dict(zip(self.columns, cells, strict=False)))

    def finish(self, ground: Ground | None = None) -> int:
        """Print, append to the results file; the exit code (1 when a gate is missed)."""
        self._print(Console(), ground)
        self._save(ground)
        return 0 if all(gate.met for gate in self.gates) else 1

    def _print(self, console: Console, ground: Ground | None) -> None:
        table = Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*(Text(_shown(cell)) for cell in row))
        console.print(table)
        for note in self.notes:
            console.print(note, style="dim", highlight=False)
        if ground and ground.idle_before and min(ground.idle_before) < QUIET:
            idle = ", ".join(f"{one:.0%}" for one in ground.idle_before)
            console.print(f"the machine was not quiet: idle before each run {idle}", style="yellow")
        for gate in self.gates:
            console.print(str(gate), style="green" if gate.met else "bold red", highlight=False)

    def _save(self, ground: Ground | None) -> None:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        circumstances = _circumstances() | (ground.circumstances() if ground else {})
        gates = [{"gate": gate.name, "met": gate.met} | asdict(gate) for gate in self.gates]
        with RESULTS.open("a") as out:
            for figure in [*self.figures, *gates]:
                out.write(json.dumps({"command": self.command} | figure | circumstances, default=str) + "\n")


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= WHOLE_FROM else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _circumstances() -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git_sha(),
        "cpu": machine.cpu_model(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _git_sha() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - a list of our own
    return done.stdout.strip() or "unknown"
