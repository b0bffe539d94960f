"""The audit transcribes topics and tables on purpose; here its copies are compared with what they copy."""

from contracts.topics import TOPICS as DECLARED
from contracts.topics import consumer_number as declared_number
from infra.audit.orders import CHECKOUT_STEPS, ITEM_STEPS, ORDER_STEPS, rollup
from infra.audit.topics import SERVICES, TOPICS, consumer_number
from services.inventory.handlers import consumer as inventory
from services.orders.domain import NEXT, TABLE, ItemStatus, OrderStatus
from services.orders.domain import rollup as orders_rollup
from services.orders.handlers import consumer as orders
from services.payments.handlers import consumer as payments

CONSUMERS = {one.service: one for one in (orders, inventory, payments)}


def test_the_topics_are_those_declared() -> None:
    declared = {one.name: (one.number, one.owner, one.cleanup == "compact") for one in DECLARED}
    assert {name: (one.number, one.owner, one.compacted) for name, one in TOPICS.items()} == declared


def test_who_hears_a_topic_is_who_listens() -> None:
    heard = {(service, name) for name, topic in TOPICS.items() for service in topic.heard_by}
    assert heard == {
        (service, name) for service, consumer in CONSUMERS.items() for name in consumer.subscriptions
    }
    assert set(CONSUMERS) == set(SERVICES)


def test_the_consumer_numbers_are_those_of_the_inboxes() -> None:
    for service in SERVICES:
        for name in TOPICS:
            assert consumer_number(service, name) == declared_number(service, name)


def test_every_item_step_of_the_domain_is_known_and_no_other() -> None:
    steps = {status.value: {new.value for new in after} for status, after in NEXT.items() if after}
    assert {old: set(new) for old, new in ITEM_STEPS.items() if old is not None} == steps


def test_every_stage_and_status_is_known() -> None:
    assert {stage.value for stage in TABLE} == CHECKOUT_STEPS.keys() - {None}
    reached = set().union(*CHECKOUT_STEPS.values())
    assert reached == CHECKOUT_STEPS.keys() - {None}
    assert set().union(*ORDER_STEPS.values()) == {status.value for status in OrderStatus}


def test_both_rollups_say_the_same_of_every_mix_of_items() -> None:
    mixes = [()] + [(one, other, third) for one in ItemStatus for other in ItemStatus for third in ItemStatus]
    for mix in mixes[1:]:
        assert rollup(status.value for status in mix) == orders_rollup(mix).value
