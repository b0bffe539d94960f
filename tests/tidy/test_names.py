"""One word per idea: a topic, its class and its handler are named alike."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from contracts.topics import SERVICES, TOPICS, Topic
from services.chassis.consumer import Consumer
from tests.support.source import ROOT, tree_of

PRESENT = tuple(name for name in SERVICES if (ROOT / "services" / name / "handlers.py").exists())
# Past participles this language uses; a topic is a fact, not an order.
PARTICIPLE = re.compile(r"(ed|en|held|state)$")
NOUN_PLUS_FACT = re.compile(r"[a-z]+\.[a-z]+")


def class_name(topic: str) -> str:
    return "".join(word.capitalize() for word in topic.split("."))


def handler_name(topic: str) -> str:
    return "on_" + topic.replace(".", "_")


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_topic_is_a_noun_and_a_past_participle_and_its_class_is_called_so(topic: Topic) -> None:
    assert NOUN_PLUS_FACT.fullmatch(topic.name)
    assert PARTICIPLE.search(topic.name)
    assert topic.event.__name__ == class_name(topic.name)


def test_no_topic_number_is_used_twice() -> None:
    assert len({topic.number for topic in TOPICS}) == len(TOPICS)


@pytest.mark.parametrize("service", PRESENT)
def test_a_handler_is_called_like_the_topic_it_hears(service: str) -> None:
    consumer: Consumer = importlib.import_module(f"services.{service}.handlers").consumer
    named = {topic: one.handler.__name__ for topic, one in consumer.subscriptions.items()}
    assert named == {topic: handler_name(topic) for topic in named}


@pytest.mark.parametrize("service", PRESENT)
def test_a_handler_only_hands_over_to_one_action(service: str) -> None:
    tree = tree_of(Path(f"services/{service}/handlers.py"))
    handlers = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    assert handlers
    assert [node.name for node in handlers if len(node.body) > 2] == []
