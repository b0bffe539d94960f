"""The documents are true where a machine can tell: links, paths, commands, names, generated pages."""

import ast
import json
import re
from pathlib import Path

import jsonschema_rs
import pytest

from contracts.schemas import frozen_file
from contracts.topics import TOPICS, Topic
from infra import event_map
from infra.cli import app
from tests.support.source import ROOT, files, functions, text_of

BY_HAND = tuple(path for path in files("*.md") if path.parts[:2] != ("docs", "events"))
DECISIONS = tuple(path for path in files("docs/adr/*.md") if path.stem[:1].isdigit())
CODE = tuple(path for path in files("*.py", "*.sql") if path.parts[0] in ("services", "contracts", "infra"))

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`\n]+)`")
TOP = frozenset({path.parts[0] for path in files() if len(path.parts) > 1})
MADE_LATER = frozenset({".venv", ".run", ".cache"})
MAKE = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
MODULE = re.compile(r"python -m ([a-z_]+(?:\.[a-z_]+)*)")
KB = re.compile(r"(?:^|`)(?:\.venv/bin/)?kb ([a-z]+)", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
CALL = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)\(\)")


def broken_links(path: Path, text: str) -> list[str]:
    """Relative links that lead nowhere: to a file that is not there, or a heading it does not have."""
    return [target for target in LINK.findall(text) if "://" not in target and not _leads(path, target)]


def _leads(path: Path, target: str) -> bool:
    name, _, heading = target.partition("#")
    file = ROOT / path.parent / name if name else ROOT / path
    return file.exists() and (not heading or heading in _headings(file.read_text()))


def _headings(text: str) -> set[str]:
    found = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in found}


def missing_paths(text: str) -> list[str]:
    """Quoted words that look like a path of this repository and are none; `<name>` stands for anything."""
    return [one for one in QUOTED.findall(FENCED.sub("", text)) if _is_a_path(one) and not _is_there(one)]


def _is_a_path(word: str) -> bool:
    first = word.partition("/")[0]
    return bool(re.fullmatch(r"[\w.<>*/-]+", word)) and "/" in word and first in TOP


def _is_there(word: str) -> bool:
    pattern = re.sub(r"<\w+>", "*", word.rstrip("/"))
    return any(ROOT.glob(pattern))


def unknown_commands(text: str) -> list[str]:
    """`make x`, `python -m x` and `kb x` that nobody could run."""
    targets = set(TARGET.findall(text_of(Path("Makefile"))))
    modules = [one for one in MODULE.findall(text) if not _is_a_module(one)]
    return (
        [f"make {one}" for one in MAKE.findall(text) if one not in targets]
        + [f"python -m {one}" for one in modules]
        + [f"kb {one}" for one in KB.findall(text) if one not in _commands()]
    )


def _is_a_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file() or name in {"pytest", "venv"}


def _commands() -> set[str]:
    named = [(one.name, one.callback) for one in app.registered_commands]
    groups = {one.name for one in app.registered_groups if one.name}
    return groups | {name or callback.__name__ for name, callback in named if callback is not None}


def unknown_functions(text: str) -> list[str]:
    """Quoted `name()`s that no function of ours is called."""
    defined = {
        one.where.rpartition(" ")[2] for path in CODE if path.suffix == ".py" for one in functions(path)
    }
    calls = [CALL.fullmatch(one) for one in QUOTED.findall(FENCED.sub("", text))]
    return [call[0] for call in calls if call and call[1].rpartition(".")[2] not in defined]


@pytest.mark.parametrize("path", files("*.md"), ids=str)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    assert broken_links(path, text_of(path)) == []


@pytest.mark.parametrize("path", BY_HAND, ids=str)
def test_every_path_exists(path: Path) -> None:
    assert missing_paths(text_of(path)) == []


@pytest.mark.parametrize("path", BY_HAND, ids=str)
def test_every_command_exists(path: Path) -> None:
    assert unknown_commands(text_of(path)) == []


@pytest.mark.parametrize("path", BY_HAND, ids=str)
def test_every_function_exists(path: Path) -> None:
    assert unknown_functions(text_of(path)) == []


@pytest.mark.parametrize("path", DECISIONS, ids=str)
def test_a_decision_is_half_a_page_and_ends_with_when_to_look_at_it_again(path: Path) -> None:
    text = text_of(path)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[-1] == "Revisit when"
    assert text.rpartition("## Revisit when")[2].strip()
    assert len(text.split()) <= 400


def test_every_decision_is_in_the_list() -> None:
    listed = text_of(Path("docs/adr/README.md"))
    assert [path.name for path in DECISIONS if f"({path.name})" not in listed] == []
    assert [int(path.stem[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_event_pages_are_current() -> None:
    """`python -m infra.event_map` makes them so."""
    wanted = event_map.pages()
    stale = [path.name for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    left_over = set((ROOT / "docs" / "events").glob("*.md")) - set(wanted)
    assert (stale, left_over) == ([], set())


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_an_example_is_an_event_we_could_tell(topic: Topic, whole: bool) -> None:  # noqa: FBT001
    body = event_map.example(topic, whole=whole)
    jsonschema_rs.validate(json.loads(frozen_file(topic.event).read_text()), body)
    read = topic.event.model_validate_json(json.dumps(body))
    assert json.loads(read.model_dump_json(exclude_none=True)) == body


def test_every_event_page_names_who_hears_it() -> None:
    assert event_map.heard_by("payment.verified") == ("orders",)
    assert event_map.heard_by("order.state") == ("gateway",)


def words_of_the_glossary() -> list[tuple[str, str]]:
    """Each word of the glossary's tables with the name it has in the code."""
    rows = re.findall(
        r"^\| \*\*(.+?)\*\* \|.*\| `([^`]+)` \|$", text_of(Path("docs/glossary.md")), re.MULTILINE
    )
    return [(word, name) for word, name in rows]


def names_in_the_code() -> frozenset[str]:
    found: set[str] = set()
    for path in CODE:
        found |= set(re.findall(r"\w+", text_of(path)))
    return frozenset(found)


def test_the_code_uses_the_words_of_the_glossary() -> None:
    words, names = words_of_the_glossary(), names_in_the_code()
    assert len(words) > 30
    assert [word for word, name in words if not set(re.findall(r"\w+", name)) <= names] == []


def test_the_glossary_is_in_order_and_names_nothing_twice() -> None:
    text = text_of(Path("docs/glossary.md"))
    for section in text.split("\n## ")[1:]:
        words = re.findall(r"^\| \*\*(.+?)\*\* \|", section, re.MULTILINE)
        assert words == sorted(set(words), key=str.lower)


@pytest.mark.parametrize(
    ("rule", "planted"),
    [
        (lambda text: broken_links(Path("README.md"), text), "[gone](docs/gone.md)"),
        (lambda text: broken_links(Path("README.md"), text), "[gone](README.md#no-such-heading)"),
        (missing_paths, "see `services/orders/gone.py`"),
        (missing_paths, "see `services/<name>/gone.py`"),
        (unknown_commands, "run `make gone`"),
        (unknown_commands, "run `python -m infra.gone`"),
        (unknown_commands, "run `kb gone`"),
        (unknown_functions, "calls `actions.gone()`"),
    ],
)
def test_the_rule_sees_what_is_not_there(rule, planted: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    assert rule(planted) != []


def test_no_document_is_code_without_a_reader() -> None:
    """A Python block in a document must at least parse."""
    for path in BY_HAND:
        for block in re.findall(r"^```python\n(.*?)^```$", text_of(path), re.MULTILINE | re.DOTALL):
            ast.parse(block)
