"""The alert rules: each fires and stays silent in a test of its own, and names only what the code exports."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from services.orders.health import longest
from services.orders.reconcilers import Limits
from tests.support.rulebook import (
    RULES,
    RUNBOOKS,
    TESTS,
    Alert,
    alerts,
    duties,
    exported,
    known_duties,
    unknown_numbers,
)
from tests.support.source import ROOT, text_of

ALERTS = alerts()
FILES = tuple(sorted(path.name for path in (ROOT / RULES).glob("*.yml")))
EXPECTED = re.compile(r"alertname: (\w+)\n *exp_alerts:( \[\])?")
DOCUMENTS = (
    Path("docs/operating.md"),
    *sorted(path.relative_to(ROOT) for path in (ROOT / RUNBOOKS).glob("*.md")),
)

# What those who watch were promised, and the alert that keeps it.
PROMISED = {
    "more than five stuck": "ManyStuck",
    "more than ten failures in an hour": "ManyFailures",
    "an order took longer than ten seconds": "OrderCreationSlow",
    "stale work was recovered": "StaleWorkHealed",
    "a failure stays visible": "OldestParked",
    "the scheduler itself": "ReconcilerSilent",
    "oldest unpublished": "OldestUnpublished",
    "leases thrash": "LeaseThrash",
    "consumer lag by time": "ConsumerBehind",
    "a payment without an order": "PaymentWithoutOrder",
    "new checkouts are refused": "CheckoutsRefused",
}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("there is no promtool (Debian's package `prometheus` has it)")
    return found


def run(promtool: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [promtool, *words]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("file", FILES)
def test_every_rule_fires_when_it_should_and_only_then(promtool: str, file: str) -> None:
    tested = run(promtool, "test", "rules", str(TESTS / file), folder=ROOT)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_prometheus_accepts_its_configuration_with_all_rules(promtool: str) -> None:
    checked = run(promtool, "check", "config", "prometheus.yml", folder=ROOT / RULES.parent)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(FILES)} rule files found" in checked.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("> 30", "> 3000"), ("for: 1m", "for: 1h"), ("max by (service)", "max by (part)")],
)
def test_a_wrong_rule_fails_its_test(promtool: str, tmp_path: Path, right: str, wrong: str) -> None:
    shutil.copytree(ROOT / RULES.parent, tmp_path / "prometheus")
    rules = tmp_path / "prometheus" / "rules" / "delivery.yml"
    broken = rules.read_text().replace(right, wrong, 1)
    assert broken != rules.read_text()
    rules.write_text(broken)
    folder = tmp_path / "prometheus" / "tests"
    assert run(promtool, "test", "rules", "delivery.yml", folder=folder).returncode != 0


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one.name)
def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent(alert: Alert) -> None:
    said = Counter((name, bool(silent)) for name, silent in EXPECTED.findall(text_of(TESTS / alert.file)))
    assert said[alert.name, False] >= 1, "fires"
    assert said[alert.name, True] >= 1, "stays silent"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one.name)
def test_every_alert_names_only_numbers_that_the_code_exports(alert: Alert) -> None:
    assert unknown_numbers(alert.expression) == []


@pytest.mark.parametrize(
    "planted",
    [
        "kb_gone > 0",
        "kb_failed_messages{minutes='1'} > 0".replace("'", '"'),
        "max by (topic) (kb_outbox_parked) > 0",
        "increase(kb_outbox_takeover[1h]) > 0",
    ],
)
def test_the_rule_about_numbers_sees_what_is_not_there(planted: str) -> None:
    assert unknown_numbers(planted) != []


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_number_in_a_document_is_exported(path: Path) -> None:
    known = {name.removesuffix("_bucket") for name in exported()}
    named = set(re.findall(r"`(kb_[a-z_]+|messaging_[a-z_]+|http_[a-z_]+_seconds)[`{]", text_of(path)))
    assert named - known == set()


def test_every_alert_says_how_urgent_it_is() -> None:
    assert {one.severity for one in ALERTS} == {"critical", "warning", "info"}
    assert [one.name for one in ALERTS if not one.severity] == []


def test_no_name_is_used_twice() -> None:
    assert len({one.name for one in ALERTS}) == len(ALERTS)


def test_what_was_promised_to_those_who_watch_is_there() -> None:
    assert set(PROMISED.values()) <= {one.name for one in ALERTS}


def ordinary() -> list[str]:
    """The patterns of duties whose work is no news."""
    [healed] = [one.expression for one in ALERTS if one.name == "StaleWorkHealed"]
    found = re.search(r'reconciler!~"([^"]+)"', healed)
    assert found, healed
    return found[1].split("|")


def test_each_duty_that_is_left_out_of_the_news_exists() -> None:
    assert [one for one in ordinary() if not any(re.fullmatch(one, name) for name in duties())] == []


def test_the_page_about_healed_work_tells_what_each_duty_in_the_news_means() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", text_of(RUNBOOKS / "stale-work-healed.md"), re.MULTILINE))
    assert listed == {name for name in duties() if not re.fullmatch("|".join(ordinary()), name)}


def test_the_page_about_stuck_work_tells_what_each_kind_means() -> None:
    alarms = [one.alarm for one in known_duties() if one.alarm is not None]
    said = {kind for one in alarms for kind in one._labelvalues}  # noqa: SLF001 - it tells nobody else
    measured = {f"checkout_{stage}" for stage in longest(Limits())} | {"window", "retry"}
    rows = re.findall(r"^\| (`.+?`) \|", text_of(RUNBOOKS / "stuck-work.md"), re.MULTILINE)
    assert {kind for row in rows for kind in re.findall(r"`(\w+)`", row)} == said | measured


def test_the_containers_prometheus_reads_the_rules() -> None:
    assert "./infra/prometheus/rules:/etc/prometheus/rules:ro" in text_of(Path("docker-compose.yml"))
    assert "rule_files: [rules/*.yml]" in text_of(Path("infra/prometheus/prometheus.yml"))
