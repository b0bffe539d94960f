"""The decisions of orders, inventory and payments, explored together: no order of events breaks a promise.

`KB_DEEP=1` explores the big configurations too, and wanders for longer; that takes a quarter of an hour.
"""

import os

import pytest

from contracts.event import Event
from contracts.orders import ItemStep
from services.inventory import handlers as of_inventory
from services.orders import handlers as of_orders
from services.payments import handlers as of_payments
from tests.support.saga.configs import BIG, EVERYTHING, SMALL
from tests.support.saga.exploring import explore
from tests.support.saga.left_out import LEFT_OUT
from tests.support.saga.wandering import wander
from tests.support.saga.world import HEARD, Config

DEEP = bool(os.environ.get("KB_DEEP"))
EXPLORED = SMALL + BIG if DEEP else SMALL
WALKS = 50_000 if DEEP else 600
CONSUMERS = (of_inventory.consumer, of_orders.consumer, of_payments.consumer)


@pytest.mark.parametrize(("config", "ends"), EXPLORED, ids=[config.name for config, _ in EXPLORED])
def test_no_interleaving_breaks_a_promise(config: Config, ends: frozenset[str]) -> None:
    report = explore(config)
    assert not report.broken, str(report)
    assert set(report.ends) == ends, str(report)


@pytest.mark.parametrize("config", EVERYTHING, ids=[config.name for config in EVERYTHING])
def test_wandering_through_everything_at_once_breaks_no_promise(config: Config) -> None:
    report = wander(config, WALKS)
    assert not report.broken, str(report)
    assert report.ends["refunded"], "no walk went far enough"


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_rule_that_is_left_out_breaks_a_promise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left_out = LEFT_OUT[name]
    left_out.forget(monkeypatch)
    report = explore(left_out.config, first=True)
    assert left_out.breaks in report.broken, f"without the rule that {left_out.rule}:\n{report}"


def test_the_exploration_hears_what_the_services_hear() -> None:
    subscribed: set[tuple[str, type[Event]]] = {
        (consumer.service, subscription.event)
        for consumer in CONSUMERS
        for subscription in consumer.subscriptions.values()
    }
    own_items = {("orders", event) for _, event in subscribed if issubclass(event, ItemStep)}
    assert subscribed - own_items == set(HEARD)
