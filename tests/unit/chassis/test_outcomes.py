"""What records come to is counted from nothing: the first failure of a topic is a rise, too."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.chassis import batch, parking
from services.chassis.app import Process
from services.inventory.app import build
from services.inventory.settings import InventorySettings
from tests.support.source import text_of
from tests.support.tokens import tokens_in

NOWHERE = "postgresql://nobody:x@127.0.0.1:9/nothing"
TOPICS = ("order.placed", "order.finalized", "order.expired")


def counted(topic: str, outcome: str) -> float | None:
    return REGISTRY.get_sample_value("kb_consumer_records_total", {"topic": topic, "outcome": outcome})


async def test_a_process_shows_every_outcome_of_its_topics_before_it_hears_anything(tmp_path: Path) -> None:
    batch.RECORDS.clear()
    Process(build(InventorySettings(database_url=NOWHERE, jwks_file=tokens_in(tmp_path).jwks)))
    assert {counted(topic, outcome) for topic in TOPICS for outcome in batch.OUTCOMES} == {0.0}


@pytest.mark.parametrize(
    ("state", "reason", "outcome"),
    [
        ("parked", "LookupError", {"failed": 1}),
        ("parked", "NOT_YET", {"failed": 1}),
        ("parked", parking.BEHIND, {}),
        ("dead", "INVALID_BODY", {"malformed": 1}),
        ("dead", parking.NEVER, {}),
    ],
)
def test_a_record_that_is_set_aside_is_an_outcome_of_its_own_failure_only(
    state: str, reason: str, outcome: dict[str, int]
) -> None:
    assert batch._failures([("order.placed", state, reason)]) == outcome  # noqa: SLF001 - the rule itself


def test_the_alert_takes_exactly_the_outcomes_that_are_failures() -> None:
    [named] = re.findall(r'outcome=~"([a-z|]+)"', text_of(Path("infra/prometheus/rules/delivery.yml")))
    assert set(named.split("|")) == {batch.FAILED, batch.MALFORMED, "never"}
    assert set(named.split("|")) < set(batch.OUTCOMES)
