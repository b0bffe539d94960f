"""A service that is set up wrongly does not start: it says all that is wrong at once, and no value."""

import os
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from services.chassis.app import UNFIT_SETTINGS
from services.chassis.settings import NEARLY, OwnerSettings, ServiceSettings, UnfitSettingsError, read
from services.gateway.settings import GatewaySettings
from services.orders.settings import OrdersSettings
from services.payments.settings import PaymentsSettings

ROOT = Path(__file__).parents[3]
DSN = "postgresql://orders:hush@127.0.0.1/orders"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("KB_"):
            monkeypatch.delenv(name)


def refused(monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], **env: str) -> list[str]:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnfitSettingsError) as told:
        read(settings)
    return [line.strip() for line in str(told.value).splitlines()[1:]]


def test_every_problem_is_named_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(
        monkeypatch, OrdersSettings, KB_DATABASE_URL=DSN, KB_POOL_SIZE="0", KB_BATCH_SIZE="many-hush"
    )  # fmt: skip
    assert [one.partition(":")[0] for one in said] == ["KB_POOL_SIZE", "KB_BATCH_SIZE", "KB_ADDRESS_KEY_FILE"]
    assert "greater than or equal to 2" in said[0]
    assert "required" in said[2]
    assert "hush" not in "".join(said)


def test_an_empty_variable_is_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, OwnerSettings, KB_DATABASE_URL="") == ["KB_DATABASE_URL: Field required"]
    monkeypatch.setenv("KB_DATABASE_URL", DSN)
    monkeypatch.setenv("KB_OTLP_ENDPOINT", "")
    assert read(OwnerSettings).otlp_endpoint is None


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("KB_DATABSE_URL", "KB_DATABASE_URL"), ("KB_POOLSIZE", "KB_POOL_SIZE")]
)
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, misspelt: str, meant: str
) -> None:
    said = refused(monkeypatch, OwnerSettings, KB_DATABASE_URL=DSN, **{misspelt: "7"})
    assert said == [f"{misspelt}: there is no such setting; {meant} is meant?"]


def test_what_only_money_that_is_real_forbids_is_said_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = {"KB_DATABASE_URL": DSN, "KB_ENVIRONMENT": "production", "KB_ESEWA_KEY": "hush"}
    assert refused(monkeypatch, PaymentsSettings, **env) == [
        "production must not use the gateway's public test merchant or key"
    ]


def test_no_setting_of_one_service_is_taken_for_a_misspelt_one_of_another() -> None:
    """All services may be given the same environment."""
    services = (OwnerSettings, OrdersSettings, PaymentsSettings, GatewaySettings)
    names = {name for one in services for name in one.model_fields}
    alike = [
        (one, other)
        for one in sorted(names)
        for other in sorted(names - {one})
        if SequenceMatcher(None, f"KB_{one.upper()}", f"KB_{other.upper()}").ratio() >= NEARLY
        and not any({one, other} <= set(service.model_fields) for service in services)
    ]
    assert alike == []


@pytest.mark.parametrize("service", ["orders", "inventory", "payments", "gateway"])
def test_a_process_ends_at_once_with_a_word_for_people(service: str) -> None:
    env = {"PATH": os.environ["PATH"], "KB_PORT": "http"}
    command = [sys.executable, "-m", f"services.{service}", "run"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == UNFIT_SETTINGS, done.stderr
    assert "cannot start with these settings:\n" in done.stderr
    assert "KB_PORT: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["KB_ENVIRONMENT", "KB_ESEWA_KEY"])
def test_what_guards_real_money_does_not_fall_back_because_it_was_left_empty(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = refused(monkeypatch, PaymentsSettings, KB_DATABASE_URL=DSN, **{name: ""})
    assert [one.partition(":")[0] for one in said] == [name]


def test_a_list_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    [said] = refused(monkeypatch, PaymentsSettings, KB_DATABASE_URL=DSN, KB_POLL_AFTER_OPEN_S="5,10")
    assert "poll_after_open_s" in said
