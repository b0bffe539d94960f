"""The page of bounds says what the code does."""

import importlib
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.support.source import text_of

ROW = re.compile(r"^\| (.+?) \| ([\d.]+) (\w+) \| `([\w.]+):([\w.]+)` \|$", re.MULTILINE)
TIMES = {"KiB": 1024, "MiB": 1024 * 1024}
SECONDS = "s"


def rows(text: str) -> list[tuple[str, float, str, str, str]]:
    """What, how much in the code's unit, the unit, the module and the name in it."""
    return [
        (what, float(amount) * TIMES.get(unit, 1), unit, module, name)
        for what, amount, unit, module, name in ROW.findall(text)
    ]


def value_of(module: str, name: str) -> Any:  # noqa: ANN401 - a number
    """A constant, or the default of a field."""
    holder: Any = importlib.import_module(module)
    for part in name.split("."):
        holder = _default(holder, part)
    return holder


def _default(holder: Any, name: str) -> Any:  # noqa: ANN401
    if isinstance(holder, type) and issubclass(holder, BaseModel):
        return holder.model_fields[name].default
    if isinstance(holder, type) and is_dataclass(holder):
        [default] = [one.default for one in fields(holder) if one.name == name]
        assert default is not MISSING
        return default
    return getattr(holder, name)


ROWS = rows(text_of(Path("docs/bounds.md")))


@pytest.mark.parametrize(("what", "amount", "unit", "module", "name"), ROWS, ids=str)
def test_a_bound_is_what_the_page_says(what: str, amount: float, unit: str, module: str, name: str) -> None:
    assert value_of(module, name) == amount, f"{what}: {module}:{name}"
    assert name.lower().endswith("_s") == (unit == SECONDS), "a name tells seconds from anything else"


def test_every_row_of_the_page_is_compared() -> None:
    table = [line for line in text_of(Path("docs/bounds.md")).splitlines() if line.startswith("| ")]
    headings = [line for line in table if line == "| What | Bound | Where |"]
    assert len(table) - len(headings) == len(ROWS) >= 35
