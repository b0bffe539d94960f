"""`python -m tests.mutants [NAME ...]`: plant every bug, one at a time, and see which engine catches it.

First all tests that are to catch something run without any bug. Exit code 1 when a bug survives, 2 when a
test fails without one, or does not run at all.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.mutants.catalogue import ALL, BY_NAME, Mutant
from tests.mutants.planting import NAMED

PYTEST: Final = (
    sys.executable,
    "-m",
    "pytest",
    "-p",
    "tests.mutants.planting",
    "-p",
    "no:cacheprovider",
    "-q",
    "-x",
)
WITHIN_S: Final = 300.0
PASSED, FAILED = 0, 1
SURVIVED, BROKEN = 1, 2


def run(tests: Iterable[str], mutant: str = "") -> tuple[int, str]:
    """The exit code of pytest, and what it said."""
    command = [*PYTEST, "--show-capture=no", "--tb=line", *dict.fromkeys(tests)]
    done = subprocess.run(
        command,
        env=os.environ | {NAMED: mutant},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def main(names: Sequence[str]) -> int:
    """Every bug, or those named; the exit code is the verdict."""
    if unknown := [name for name in names if name not in BY_NAME]:
        print(f"no such bug: {', '.join(unknown)}; there are: {', '.join(BY_NAME)}")  # noqa: T201
        return BROKEN
    chosen = [BY_NAME[name] for name in names] or list(ALL)
    code, said = run(test for one in chosen for test in one.tests)
    if code != PASSED:
        print(said)  # noqa: T201
        print("the tests fail without any bug: nothing was planted")  # noqa: T201
        return BROKEN
    found = {one.name: _hunt(one) for one in chosen}
    _show(chosen, found)
    codes = {code for code, _ in found.values()}
    return BROKEN if codes - {PASSED, FAILED} else SURVIVED if PASSED in codes else 0


def _hunt(mutant: Mutant) -> tuple[int, float]:
    started = time.monotonic()
    code, said = run(mutant.tests, mutant.name)
    if code not in (PASSED, FAILED):
        print(said)  # noqa: T201
    return code, time.monotonic() - started


def _show(mutants: Sequence[Mutant], found: dict[str, tuple[int, float]]) -> None:
    words = {PASSED: "SURVIVED", FAILED: "caught"}
    table = Table("bug", "what became of it", "by", "test", "in", title="Planted bugs")
    for one in mutants:
        code, seconds = found[one.name]
        test = one.tests[0].rpartition("::")[2].replace("_", " ").removeprefix("test ")
        table.add_row(one.name, words.get(code, "NOT RUN"), one.engine, test, f"{seconds:.1f} s")
    Console(width=150).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
