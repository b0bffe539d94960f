"""The runbooks: one for each alert, in one shape, and nothing on them that cannot be typed."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import app
from tests.support.rulebook import (
    RUNBOOKS,
    Alert,
    alerts,
    commands_in,
    path_of,
    wrong_with,
)
from tests.support.source import ROOT, text_of

ALERTS = alerts()
PAGES = tuple(sorted(path.relative_to(ROOT) for path in (ROOT / RUNBOOKS).glob("*.md")))
OTHERS = {"README.md", "rollback.md", "first-week.md"}
SHAPE = ["What it means", "What to look at", "What to do", "When it is over"]
COMMANDS = sorted({command for path in PAGES for command in commands_in(text_of(path))})
NAMED = sorted({path_of(command) for command in COMMANDS if command.startswith("kb ")})


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one.name)
def test_every_alert_leads_to_a_page_that_is_about_it(alert: Alert) -> None:
    assert Path(alert.runbook) in PAGES
    heading = text_of(Path(alert.runbook)).splitlines()[0]
    assert alert.name in heading.removeprefix("# ").split(" and ")


@pytest.mark.parametrize("path", [path for path in PAGES if path.name not in OTHERS], ids=str)
def test_a_page_has_its_alerts_and_the_four_answers(path: Path) -> None:
    named = text_of(path).splitlines()[0].removeprefix("# ").split(" and ")
    assert set(named) == {one.name for one in ALERTS if Path(one.runbook) == path}
    assert re.findall(r"^## (.+)$", text_of(path), re.MULTILINE) == SHAPE


def test_the_list_has_every_alert_with_its_page_under_its_severity() -> None:
    rows = re.findall(r"^\| (critical|warning|info) \|.*$", text_of(RUNBOOKS / "README.md"), re.MULTILINE)
    assert rows == ["critical", "warning", "info"]
    listed = {
        (severity, name, page)
        for severity, row in re.findall(
            r"^\| (critical|warning|info) \|(.*)$", text_of(RUNBOOKS / "README.md"), re.MULTILINE
        )
        for name, page in re.findall(r"\[(\w+)\]\((\S+)\)", row)
    }
    assert listed == {(one.severity, one.name, Path(one.runbook).name) for one in ALERTS}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_typed_like_that(command: str) -> None:
    assert wrong_with(command) is None


@pytest.mark.parametrize("path", NAMED, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*path, "--help"])
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    "planted",
    ["kb gone", "kb outbox", "kb outbox gone", "kb outbox reset --gone", "kb audit <id>", "make gone"],
)
def test_the_rule_about_commands_sees_what_cannot_be_typed(planted: str) -> None:
    assert wrong_with(planted) is not None


@pytest.mark.parametrize(
    "right", ["kb audit", "kb outbox reset --service <name> --reason <why>", "make test"]
)
def test_the_rule_about_commands_accepts_what_can(right: str) -> None:
    assert wrong_with(right) is None


def test_a_command_is_found_in_a_block_and_in_a_sentence() -> None:
    text = (
        "Type `kb one <id>`.\n\n```sh\nkb two --now\nls\n```\n\n1. and\n\n   ```sh\n   make three\n   ```\n"
    )
    assert commands_in(text) == ["kb one <id>", "kb two --now", "make three"]
