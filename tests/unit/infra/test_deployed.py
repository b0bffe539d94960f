"""What an installation is told about itself, made into what the story needs."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.deployed import Deployed, DeployedSettings

IN_CONTAINERS = {
    "kafka": "kafka:9092",
    "postgres": "postgres:5432",
    "gateway_url": "http://gateway:8000",
    "orders_url": "http://orders:8000",
    "inventory_url": "http://inventory:8000",
    "payments_url": "http://payments:8000",
    "esewa_url": "http://esewa:8701",
    "esewa_control_url": "http://esewa:8702",
    "public_url": "http://127.0.0.1:8080",
    "esewa_form_url": "http://127.0.0.1:8701/esewa/form",
}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for role in ("postgres", "kb_orders", "kb_inventory", "kb_payments"):
        (tmp_path / f"{role}.password").write_text(f"of-{role}")
    return tmp_path


def told(secrets: Path, **other: str) -> Deployed:
    return Deployed(DeployedSettings.model_validate({"secrets": secrets} | IN_CONTAINERS | other))


def test_a_browsers_origins_lead_to_where_they_are_reached_from_here(secrets: Path) -> None:
    assert told(secrets).published == {
        "http://127.0.0.1:8080": "http://gateway:8000",
        "http://127.0.0.1:8701": "http://esewa:8701",
    }


def test_what_a_browser_reaches_as_we_do_needs_no_other_way(secrets: Path) -> None:
    assert (
        told(secrets, gateway_url="http://127.0.0.1:8080", esewa_url="http://127.0.0.1:8701").published == {}
    )


def test_each_service_is_audited_by_its_own_role(secrets: Path) -> None:
    system = told(secrets)
    assert system.databases == {
        one: f"postgresql://kb_{one}:of-kb_{one}@postgres:5432/kb_{one}"
        for one in ("orders", "inventory", "payments")
    }
    assert system.addresses["postgres"] == "postgresql://postgres:of-postgres@postgres:5432/postgres"


def test_every_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in IN_CONTAINERS:
        monkeypatch.delenv(f"KB_{name.upper()}", raising=False)
    with pytest.raises(ValidationError) as refused:
        Deployed.of_environment()
    assert {str(one["loc"][0]).lower() for one in refused.value.errors()} == set(IN_CONTAINERS)
