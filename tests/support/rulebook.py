"""The alert rules as data, the numbers our code exports, and the commands that documents speak of."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main
from prometheus_client.metrics import MetricWrapperBase

from infra.cli import app
from services.chassis.reconciler import Reconciler
from tests.support.source import ROOT, text_of

RULES = Path("infra/prometheus/rules")
TESTS = Path("infra/prometheus/tests")
RUNBOOKS = Path("docs/runbooks")
SERVICES = ("orders", "inventory", "payments", "gateway")

GIVEN = frozenset({"service", "instance", "job"})
"""Labels that the scraping adds."""
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
METRIC = re.compile(r"\b((?:kb|messaging|http)_[a-z0-9_]+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\b(?:by|on|without) \(([^)]*)\)")
MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
FENCED = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`\n]+)`")
PLACEHOLDER = re.compile(r"<[^<>]+>")
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule, as far as its users read it."""

    name: str
    file: str
    expression: str
    severity: str
    runbook: str


def alerts() -> list[Alert]:
    """Every alert of every rule file."""
    return [one for path in sorted((ROOT / RULES).glob("*.yml")) for one in _alerts_of(path)]


def _alerts_of(path: Path) -> Iterator[Alert]:
    for block in path.read_text().split("- alert: ")[1:]:
        expression = re.search(r"^ *expr: (?:>-\n)?(.*?)^ *(?:for|labels):", block, re.MULTILINE | re.DOTALL)
        severity, runbook = re.search(r"severity: (\w+)", block), re.search(r"runbook_url: (\S+)", block)
        assert expression, block
        yield Alert(
            block.split("\n", 1)[0].strip(),
            path.name,
            " ".join(expression[1].split()),
            severity[1] if severity else "",
            runbook[1] if runbook else "",
        )


def exported() -> dict[str, frozenset[str]]:
    """Every sample name that our code exports, with its labels."""
    for name in SERVICES:
        importlib.import_module(f"services.{name}.app")
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("services.")]
    found = {one for module in modules for one in vars(module).values() if isinstance(one, MetricWrapperBase)}
    return {sample: labels for one in found for sample, labels in _samples(one)}


def _samples(metric: MetricWrapperBase) -> Iterator[tuple[str, frozenset[str]]]:
    [told] = metric.describe()
    for suffix in SAMPLES[told.type]:
        labels = frozenset(metric._labelnames)  # noqa: SLF001 - it tells nobody else
        yield f"{told.name}{suffix}", labels | ({"le"} if suffix == "_bucket" else set())


def unknown_numbers(expression: str) -> list[str]:
    """Metrics and labels in an expression that nothing exports."""
    known = exported()
    used = [(name, matched) for name, matched in METRIC.findall(expression)]
    wrong = [name for name, _ in used if name not in known]
    for name, matched in used:
        labels = known.get(name, frozenset()) | GIVEN
        wrong += [f"{name}{{{label}}}" for label in MATCHED.findall(matched) if label not in labels]
    there = GIVEN.union(*(known.get(name, frozenset()) for name, _ in used))
    grouped = [label.strip() for group in GROUPED.findall(expression) for label in group.split(",")]
    return wrong + [f"by ({label})" for label in grouped if label not in there]


def known_duties() -> list[Reconciler]:
    """Every healing duty, of the services and of the chassis."""
    modules = [importlib.import_module(f"services.{name}.reconcilers") for name in SERVICES[:3]]
    modules.append(importlib.import_module("services.chassis.housekeeping"))
    return [one for module in modules for one in vars(module).values() if isinstance(one, Reconciler)]


def duties() -> set[str]:
    """Their names."""
    return {one.name for one in known_duties()}


def commands_in(text: str) -> list[str]:
    """What a document asks its reader to type: `kb ...` and `make ...`."""
    lines = [line.strip() for block in FENCED.findall(text) for line in block.splitlines()]
    lines += QUOTED.findall(text)
    return sorted({line for line in lines if re.match(r"(?:kb|make) [a-z]", line)})


def wrong_with(command: str) -> str | None:
    """Why this command could not be typed like that; None when it could."""
    program, *words = shlex.split(PLACEHOLDER.sub("something", command))
    if program == "make":
        targets = set(TARGET.findall(text_of(Path("Makefile"))))
        return None if words[0] in targets else f"make has no target {words[0]}"
    found, left = find_command(words)
    if hasattr(found, "commands"):
        return f"kb has no {' '.join(words)}"
    return _wrong_words(found, left)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command these words lead to (a group, if they stop short), and the words that follow."""
    found: Any = typer.main.get_command(app)
    while words and words[0] in getattr(found, "commands", {}):
        found, words = found.commands[words[0]], words[1:]
    return found, words


def path_of(command: str) -> tuple[str, ...]:
    """The names that lead to the command itself, without what it is given."""
    _, *words = command.split()
    return tuple(words[: len(words) - len(find_command(words)[1])])


def _wrong_words(command: Any, words: list[str]) -> str | None:  # noqa: ANN401 - a command of the library
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
    given, rest = 0, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            given += 1
        elif word not in options:
            return f"{command.name} has no {word}"
        elif not getattr(options[word], "is_flag", False):
            rest = rest[1:]
    missing = [one.opts[0] for one in options.values() if one.required and not {*one.opts} & {*words}]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if said := [name for name in missing if name.startswith("-")]:
        return f"{command.name} needs {', '.join(said)}"
    least, most = sum(one.required for one in arguments), len(arguments)
    many = any(one.nargs == -1 for one in arguments)
    return None if least <= given and (many or given <= most) else f"{command.name} takes {least} to {most}"
