"""The project's own source, as the rules about it see it: files, syntax trees, imports."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@cache
def files(*patterns: str) -> tuple[Path, ...]:
    """The tracked and not ignored files that match, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return tuple(Path(name) for name in sorted(set(listed)) if name and (ROOT / name).is_file())


@cache
def text_of(path: Path) -> str:
    return (ROOT / path).read_text(errors="replace")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module named in an import, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@dataclass(frozen=True, slots=True)
class Function:
    """A function and how many lines it takes, its docstring not counted."""

    where: str
    lines: int


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(f"{path}:{node.lineno} {node.name}", _lines(node))


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    documented = node.body[0] if ast.get_docstring(node) else None
    saved = documented.end_lineno - documented.lineno + 1 if documented and documented.end_lineno else 0
    return node.end_lineno - node.lineno + 1 - saved
