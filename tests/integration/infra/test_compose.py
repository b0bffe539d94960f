"""The compose file: accepted with every profile, pinned, on the loopback only, without secrets."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.deployed import DeployedSettings
from tests.support.source import text_of

FILE = Path("docker-compose.yml")
ROOT = Path(__file__).parents[3]
PROFILES = ("observability", "demo", "test")
STANDING = frozenset({"orders", "inventory", "payments", "gateway", "esewa", "kafka", "postgres"})
STEPS = frozenset({"secrets", "provision", "demo", "tests"})
"""They run to their end."""


@pytest.fixture(scope="module")
def docker() -> str:
    """A client that knows compose; it needs no engine to read a file."""
    found = shutil.which("docker")
    if found is None or subprocess.run([found, "compose", "version"], check=False).returncode != 0:
        pytest.skip("there is no docker compose to read the file")
    return found


def config(docker: str, *words: str, profiles: Sequence[str]) -> str:
    """What compose makes of the file; a file it does not accept fails here."""
    chosen = [word for one in profiles for word in ("--profile", one)]
    command = [docker, "compose", *chosen, "config", *words]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def services(docker: str) -> dict[str, Any]:
    """Every service of every profile, as compose itself reads the file."""
    told: dict[str, Any] = json.loads(config(docker, "--format", "json", profiles=PROFILES))
    return dict(told["services"])


@pytest.mark.parametrize("profiles", [(), *((one,) for one in PROFILES)])
def test_compose_accepts_the_file(docker: str, profiles: Sequence[str]) -> None:
    started = config(docker, "--services", profiles=profiles).split()
    assert STANDING | {"secrets", "provision"} <= set(started)


def test_every_image_is_pinned() -> None:
    images = re.findall(r"^\s+image: (\S+)$", text_of(FILE), re.MULTILINE)
    images += re.findall(r"^FROM (\S+:\S+)", text_of(Path("infra/Dockerfile")), re.MULTILINE)
    assert len(images) >= 7
    assert [one for one in images if not re.search(r":[\w.-]+$", one) or one.endswith(":latest")] == []


def test_every_published_port_is_on_the_loopback(services: dict[str, Any]) -> None:
    ports = [port for one in services.values() for port in one.get("ports", ())]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_every_lasting_part_of_ours_says_whether_it_is_well(services: dict[str, Any]) -> None:
    ours = {name for name, one in services.items() if "build" in one} - STEPS
    assert ours == STANDING - {"kafka", "postgres"}
    assert [name for name in STANDING if "healthcheck" not in services[name]] == []


def test_no_secret_is_in_the_file(services: dict[str, Any]) -> None:
    secret = re.compile("password|secret|key", re.IGNORECASE)
    told = {k: v for one in services.values() for k, v in (one.get("environment") or {}).items()}
    assert [name for name, value in told.items() if secret.search(name) and "/" not in value] == []


def test_the_demo_is_told_all_it_needs(services: dict[str, Any]) -> None:
    environment = services["demo"]["environment"]
    told = {name.removeprefix("KB_").lower(): value for name, value in environment.items()}
    assert DeployedSettings.model_validate(told).orders_url == "http://orders:8000"
    assert services["demo"]["pid"] == "host"


def test_the_demo_pays_where_payments_sends_its_customers(services: dict[str, Any]) -> None:
    form = [services[one]["environment"]["KB_ESEWA_FORM_URL"] for one in ("payments", "demo")]
    assert form[0] == form[1]
