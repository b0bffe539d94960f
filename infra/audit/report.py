"""The report: each promise, what was looked at, and what breaks it, for people and for machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.audit.promises import Finding, Promise

SHOWN: Final = 10
"""Ids of one violation that people see."""
WRITTEN: Final = 1000
"""Ids of one violation that machines get."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One promise and what was found."""

    promise: Promise
    finding: Finding

    @property
    def verdict(self) -> str:
        """One word; a promise that nothing was there to break is not called kept."""
        if self.finding.skipped:
            return "skipped"
        if self.finding.violations:
            return "BROKEN"
        return "kept" if self.finding.examined else "no work"


@dataclass(frozen=True, slots=True)
class Report:
    """The whole audit; `moving` is what still moved when waiting for quiet ended."""

    judged: tuple[Judged, ...]
    moving: tuple[str, ...]
    took_s: float

    @property
    def broken(self) -> list[str]:
        """The ids of the promises that are broken."""
        return [one.promise.id for one in self.judged if one.finding.violations]

    @property
    def idle(self) -> list[str]:
        """The ids of the promises that had nothing to look at, or could not look."""
        return [one.promise.id for one in self.judged if one.verdict in ("no work", "skipped")]

    @property
    def ok(self) -> bool:
        """No violation, and the system became quiet, without which half of the promises say nothing."""
        return not self.broken and not self.moving

    def finding(self, promise: str) -> Finding:
        return next(one.finding for one in self.judged if one.promise.id == promise)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "took_s": round(self.took_s, 3),
            "still_moving": list(self.moving),
            "promises": [_as_json(one) for one in self.judged],
        }


def _as_json(one: Judged) -> dict[str, Any]:
    return {
        "id": one.promise.id,
        "kind": one.promise.kind,
        "says": one.promise.says,
        "verdict": one.verdict,
        "examined": one.finding.examined,
        "note": one.finding.note or one.finding.skipped,
        "violations": [
            {"what": violation.what, "count": len(violation.ids), "ids": violation.ids[:WRITTEN]}
            for violation in one.finding.violations
        ],
    }


def show(report: Report, console: Console) -> None:
    """A table on a terminal, lines of text elsewhere; then the violations with their ids."""
    if console.is_terminal:
        console.print(_table(report.judged))
    else:
        for one in report.judged:
            _line(console, f"{one.verdict:8} {one.promise.id:6} {one.finding.examined:>8}  {_words(one)}")
    for one in report.judged:
        for violation in one.finding.violations:
            _line(console, f"{one.promise.id}: {violation.what} ({len(violation.ids)})", style="red")
            for one_id in violation.ids[:SHOWN]:
                _line(console, f"    {one_id}")
    for what in report.moving:
        _line(console, f"not quiet: {what}", style="yellow")
    _line(console, _summary(report), style="green" if report.ok else "red")


MARKS: Final = {
    "kept": "[green]kept[/]",
    "BROKEN": "[bold red]BROKEN[/]",
    "no work": "[yellow]no work[/]",
    "skipped": "[dim]skipped[/]",
}


def _table(judged: Sequence[Judged]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Promise", no_wrap=True)
    table.add_column("Says")
    table.add_column("Examined", justify="right")
    table.add_column("Violations", justify="right")
    table.add_column("", no_wrap=True)
    for one in judged:
        count = str(one.finding.count) if one.finding.count else ""
        row = (one.promise.id, escape(_words(one)), f"{one.finding.examined:,}", count, MARKS[one.verdict])
        table.add_row(*row)
    return table


def _words(one: Judged) -> str:
    aside = one.finding.note or one.finding.skipped
    return f"{one.promise.says} [{aside}]" if aside else one.promise.says


def _line(console: Console, text: str, *, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _summary(report: Report) -> str:
    kept = sum(one.verdict == "kept" for one in report.judged)
    said = f"{kept} of {len(report.judged)} promises kept, {len(report.broken)} broken"
    idle = f", {len(report.idle)} without anything to look at" if report.idle else ""
    return f"{said}{idle} ({report.took_s:.1f} s)"
