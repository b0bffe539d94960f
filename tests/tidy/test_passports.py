"""A service's passport says what it owns, hears, tells, offers and heals; the code agrees."""

import importlib
import re

import pytest

from contracts.topics import SERVICES, TOPICS
from services.chassis.consumer import Consumer
from services.chassis.reconciler import Reconciler
from tests.support.source import ROOT

PRESENT = tuple(name for name in SERVICES if (ROOT / "services" / name / "app.py").exists())
CREATED = re.compile(r"^create table (?:if not exists )?(\w+)", re.MULTILINE)
SECTIONS = ("Owns", "Listens", "Tells", "Offers", "Heals")


def passport(service: str) -> dict[str, set[str]]:
    """The sections of the service's docstring, each as the set of things it lists."""
    text = importlib.import_module(f"services.{service}").__doc__ or ""
    found = re.split(rf"^({'|'.join(SECTIONS)}):", text, flags=re.MULTILINE)[1:]
    return {
        name: {" ".join(item.split()) for item in re.split(r",\s", body) if item.strip()}
        for name, body in zip(found[::2], found[1::2], strict=True)
    }


def leaves(tables: set[str]) -> set[str]:
    """Partitions belong to their table."""
    return {name for name in tables if not re.search(r"_(\d+|%s)$", name)}


@pytest.mark.parametrize("service", PRESENT)
def test_owns_is_what_the_migrations_create(service: str) -> None:
    folder = ROOT / "services" / service / "migrations"
    created = {name for path in folder.glob("*.sql") for name in CREATED.findall(path.read_text())}
    assert passport(service)["Owns"] == leaves(created)


@pytest.mark.parametrize("service", PRESENT)
def test_listens_is_what_the_handlers_hear(service: str) -> None:
    consumer: Consumer = importlib.import_module(f"services.{service}.handlers").consumer
    assert passport(service)["Listens"] == set(consumer.subscriptions)


@pytest.mark.parametrize("service", PRESENT)
def test_tells_is_what_the_topics_say(service: str) -> None:
    assert passport(service)["Tells"] == {topic.name for topic in TOPICS if topic.owner == service}


@pytest.mark.parametrize("service", PRESENT)
def test_heals_is_what_the_reconcilers_are_called(service: str) -> None:
    module = importlib.import_module(f"services.{service}.reconcilers")
    names = {value.name for value in vars(module).values() if isinstance(value, Reconciler)}
    assert passport(service)["Heals"] == names
