"""`kb find`: one story by any of its ids, and plain words when there is none or not everybody answers."""

import asyncio
import json
from collections.abc import Callable

import pytest

from infra import databases
from services.chassis.ids import new_id
from tests.integration.audit.lived_in import LivedIn, planted
from tests.integration.looking.asking import kb, there, value
from tests.integration.looking.faults import REFUSED, SET_ASIDE, UNPUBLISHED

DELIVERED = "(select order_id from orders where status = 'delivered' order by order_id limit 1)"
PAID = """(select subject_id from intents join attempts using (subject_id)
           where answer = 'finalized' order by subject_id limit 1)"""

IDS = {
    "an order": ("orders", f"select {DELIVERED}"),
    "an order number": ("orders", "select order_number from orders order by order_id limit 1"),
    "an order number in small letters": ("orders", "select lower(order_number) from orders limit 1"),
    "an item": ("orders", "select id from order_items order by order_id limit 1"),
    "a customer": ("orders", "select customer_id from orders order by order_id limit 1"),
    "an attempt": ("payments", f"select id from attempts where subject_id = {PAID} limit 1"),
    "a gateway reference": ("payments", f"select reference from attempts where subject_id = {PAID} limit 1"),
    "a charge": ("payments", "select id from charges order by id limit 1"),
    "a transaction of the gateway": ("payments", "select provider_txn_id from charges limit 1"),
    "a refund": ("payments", "select id from refunds limit 1"),
    "a review case": ("payments", "select id from review_cases limit 1"),
    "an event of orders": ("orders", "select event_id from outbox where topic = 'order.placed' limit 1"),
    "an event of payments": ("payments", "select event_id from outbox limit 1"),
    "an event of inventory": ("inventory", "select event_id from outbox limit 1"),
    "a trace": ("orders", "select trace_id from checkout_history where trace_id is not null limit 1"),
    "a trace in an outbox": ("payments", "select substr(traceparent, 4, 32) from outbox limit 1"),
}


@pytest.mark.parametrize("what", IDS)
def test_any_id_leads_to_the_story(world: LivedIn, what: str) -> None:
    service, query = IDS[what]
    done = kb("find", str(value(world.databases[service], query)), *there(world))
    assert done.exit_code == 0, done.output
    assert "order.placed[" in done.output
    assert "Where it is: " in done.output


def test_the_story_of_a_delivered_order_is_whole_and_in_order(world: LivedIn) -> None:
    order_id = str(value(world.databases["orders"], f"select {DELIVERED}"))
    done = kb("find", order_id, "--json", *there(world))
    (story,) = json.loads(done.stdout)
    assert story["not_asked"] == {}
    lines = story["story"]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    kinds = {(line["service"], line["kind"]) for line in lines}
    assert kinds >= {
        ("orders", "checkout"),
        ("orders", "order"),
        ("orders", "item"),
        ("orders", "event"),
        ("inventory", "event"),
        ("inventory", "hold"),
        ("inventory", "stock"),
        ("payments", "event"),
        ("payments", "intent"),
        ("payments", "attempt"),
        ("payments", "lookup"),
        ("payments", "charge"),
    }
    told = [line["text"] for line in lines if line["kind"] == "event"]
    verified = next(text for text in told if text.startswith("payment.verified["))
    assert "heard by orders" in verified
    assert "]@" in verified
    assert not [text for text in told if "not in the topic" in text or "not published" in text]
    assert "the order exists, its number is ORD-" in story["where_it_is"]
    assert "and it is delivered" in story["where_it_is"]
    stages = [line["text"].partition(" (")[0] for line in lines if line["kind"] == "checkout"]
    assert stages[0] == "reserving"
    assert stages[-1].endswith("-> confirmed")


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("awaiting_payment", "awaits the customer's money until "),
        ("awaiting_payment", "expire_unpaid ends it, once orders has read all"),
        ("on_hold", "awaits somebody to decide the review case"),
        ("on_hold", "then the stock is released"),
        ("refund_pending", "to send refund "),
        ("confirmed", "vendors to move "),
        ("rejected", "what was wanted is not available"),
    ],
)
def test_it_says_what_is_awaited(world: LivedIn, stage: str, says: str) -> None:
    # The newest: an order whose items nobody has moved is among the confirmed.
    query = f"""select checkout.order_id from checkouts as checkout left join orders using (order_id)
                where stage = '{stage}' and coalesce(status, 'confirmed') = 'confirmed' limit 1"""
    done = kb("find", str(value(world.databases["orders"], query)), *there(world))
    assert done.exit_code == 0, done.output
    assert says in done.output


@pytest.mark.parametrize(
    "unknown",
    [
        "0198c0de-0000-7000-8000-000000000000",
        "orders.in.999999",
        "ghosts.out.1",
        "ORD-1999-0000001",
        "no such thing",
        "f" * 32,
        "'; drop table",
    ],
)
def test_an_unknown_id_is_said_to_be_unknown(world: LivedIn, unknown: str) -> None:
    done = kb("find", unknown, *there(world))
    assert done.exit_code == 1, done.output
    assert f"nobody knows `{unknown}`" in done.output


@pytest.mark.parametrize("away", ["orders", "inventory", "payments", "kafka"])
def test_who_is_away_is_named_and_the_rest_is_shown(
    world: LivedIn, away: str, free_port: Callable[[], int]
) -> None:
    order_id = str(value(world.databases["orders"], f"select {DELIVERED}"))
    nowhere = f"127.0.0.1:{free_port()}"
    address = nowhere if away == "kafka" else f"postgresql://kb:secret@{nowhere}/kb"
    done = kb("find", order_id, *there(world, **{away: address}))
    assert done.exit_code == 0, done.output
    assert f"could not ask {away}: " in done.output
    assert "secret" not in done.output
    assert "Where it is: " in done.output
    assert "stock.reserved[" in done.output


def test_unknown_is_not_said_for_sure_while_somebody_is_away(
    world: LivedIn, free_port: Callable[[], int]
) -> None:
    done = kb("find", "ORD-1999-0000001", *there(world, payments=f"postgresql://a@127.0.0.1:{free_port()}/b"))
    assert done.exit_code == 2
    assert "unknown to those who could be asked" in done.output


def test_a_parked_record_is_said_to_stand_in_the_way(world: LivedIn) -> None:
    told = "from outbox where topic = 'payment.verified' order by id limit 1"
    event_id, key = (
        value(world.databases["payments"], f"select {one} {told}") for one in ("event_id", "key")
    )
    park = SET_ASIDE.format(
        consumer=1033,
        topic="payment.verified",
        key=key,
        event_id=event_id,
        state="parked",
        reason="BOOM",
        error="planted",
    )
    block = f"""insert into inbox_block (consumer, key, attempts, next_at)
                values (1033, '{key}', 4, now() + interval '90 s')"""
    for wanted in (key, str(event_id)):
        done = find_planted(world, "orders", [park, block], wanted)
        assert "orders.in.1: parked payment.verified[3]@41" in done
        assert "orders has parked payment.verified[3]@41 (BOOM: planted), and its key waits behind it" in done
        assert "`kb parked show orders.in.1`" in done
        assert "awaits the next try of what orders has parked (tried 4 times) until " in done


ACTED = """
    insert into operator_actions (id, at, actor, action, subject, reason, detail)
    values ('{id}', now(), '{actor}', '{action}', '{subject}', '{reason}', '{{}}')
"""


def test_what_operators_did_about_an_order_and_its_records_is_in_its_story(world: LivedIn) -> None:
    key, replay, actor = value(world.databases["orders"], f"select {DELIVERED}::text"), new_id(), new_id()
    park = SET_ASIDE.format(
        consumer=1033, topic="payment.verified", key=key, event_id=new_id(), state="dead", reason="NEVER",
        error="planted",
    )  # fmt: skip
    taken = f"update inbox_parked set state = 'replayed', replay = '{replay}'"
    acted = [
        ACTED.format(id=made, actor=actor, action=action, subject=subject, reason=reason)
        for made, action, subject, reason in (
            (new_id(), "parked.edit", "orders.in.1", "sent in rupees"),
            (replay, "parked.replay", "selection", "fixed today"),
            (new_id(), "order.tell_again", key, "missed it"),
            (new_id(), "parked.skip", "orders.in.2", "of another order"),
        )
    ]
    for wanted in (key, "orders.in.1"):
        done = find_planted(world, "orders", [park, taken, *acted], wanted)
        assert f"parked.edit of orders.in.1 by {actor}: sent in rupees" in done
        assert f"parked.replay of selection by {actor}: fixed today" in done
        assert f"order.tell_again of {key} by {actor}: missed it" in done
        assert "of another order" not in done
        assert "orders.in.1: replayed payment.verified[3]@41" in done


def test_an_event_that_has_not_left_is_said_to_stand_in_the_way(world: LivedIn) -> None:
    event_id = new_id()
    plant = UNPUBLISHED.format(key=DELIVERED + "::text", topic="order.finalized", event_id=event_id)
    order_id = str(value(world.databases["orders"], f"select {DELIVERED}"))
    for wanted in (order_id, str(event_id)):
        done = find_planted(world, "orders", [plant], wanted)
        assert "not published yet" in done
        assert "has not left the outbox of orders" in done


def test_an_event_that_was_passed_over_is_said_so(world: LivedIn) -> None:
    """Read, and not in the inbox: it took no effect."""
    order_id = str(value(world.databases["orders"], f"select {DELIVERED}"))
    told = f"select event_id from outbox where topic = 'payment.verified' and key = '{order_id}'"
    event_id = value(world.databases["payments"], told)
    done = find_planted(world, "orders", [f"delete from inbox where event_id = '{event_id}'"], order_id)
    assert "orders has read past payment.verified[" in done
    assert "and its inbox does not have it" in done


def test_a_record_the_broker_refuses_is_said_to_stand_in_the_way(world: LivedIn) -> None:
    topic = "payment.opened"
    key = value(
        world.databases["payments"], f"select key from outbox where topic = '{topic}' order by id limit 1"
    )
    done = find_planted(world, "payments", [REFUSED.format(topic=topic)], key)
    assert f"the broker refuses {topic} of payments (MessageSizeTooLargeError: planted)" in done
    assert "`kb parked show payments.out." in done


def test_a_record_the_broker_refused_and_somebody_skipped_is_in_the_story_and_not_in_the_way(
    world: LivedIn,
) -> None:
    topic = "payment.opened"
    told = f"from outbox where topic = '{topic}' order by id limit 1"
    number, key = (value(world.databases["payments"], f"select {one} {told}") for one in ("id", "key"))
    skip = "update outbox_parked set state = 'skipped', reason = 'planted', dismissed_by = 'somebody'"
    done = find_planted(world, "payments", [REFUSED.format(topic=topic), skip], f"payments.out.{number}")
    assert f"payments.out.{number}: skipped {topic}[" in done
    assert key in done
    assert "the broker refuses" not in done


def find_planted(world: LivedIn, service: str, statements: list[str], wanted: str) -> str:
    dsn = asyncio.run(planted(world, service, statements))
    done = kb("find", wanted, *there(world, **{service: dsn}))
    asyncio.run(databases.drop(world.admin_dsn, dsn.rpartition("/")[2]))
    assert done.exit_code == 0, done.output
    return done.output


def test_without_a_stack_it_says_what_to_do() -> None:
    done = kb("find", "ORD-2026-0000001", "--instance=nowhere")
    assert done.exit_code == 2
    assert "start one with `make dev`" in done.output
