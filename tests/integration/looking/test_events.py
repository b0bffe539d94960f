"""`kb events`: tail, replay and examples, on real topics; what would do harm is refused."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from time import time
from typing import Any
from uuid import uuid4

import pytest

from contracts.topics import BY_NAME
from infra import databases
from infra import topics as provisioning
from services.chassis.records import Heard, Record, read
from tests.integration.audit.lived_in import LivedIn, planted
from tests.integration.looking.asking import kb, there, value
from tests.integration.looking.faults import REFUSED, SOME_ID, UNPUBLISHED
from tests.support.source import ROOT

TOPIC = "payment.verified"
TOLD = f"select count(*) from outbox where topic = '{TOPIC}'"
NEW_TOPIC = Callable[..., Awaitable[str]]


def broker(world: LivedIn, prefix: str | None = None) -> list[str]:
    return [f"--kafka={world.kafka}", f"--topic-prefix={world.prefix if prefix is None else prefix}"]


def tailed(world: LivedIn, *words: str, prefix: str | None = None) -> list[dict[str, Any]]:
    """Whole records up to the present end."""
    done = kb("events", "tail", "--from=start", "--no-follow", "--json", *words, *broker(world, prefix))
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def aside(records: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """The records without these fields, in one order."""
    left = [{name: said for name, said in one.items() if name not in names} for one in records]
    return sorted(left, key=json.dumps)


# ----- tail


def test_tail_shows_what_is_in_a_topic(world: LivedIn) -> None:
    shown = kb("events", "tail", "--from=start", "--no-follow", f"--topic={TOPIC}", *broker(world))
    lines = shown.stdout.splitlines()
    assert len(lines) == value(world.databases["payments"], TOLD) > 2
    wanted = (
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} {TOPIC}\[\d+\]@\d+ [0-9a-f-]{{36}} #\d+ [0-9a-f-]{{36}}"
    )
    assert [line for line in lines if not re.fullmatch(wanted, line)] == []
    assert len(tailed(world, f"--topic={TOPIC}", "--most=2")) == 2


def test_tail_of_a_key_shows_all_its_topics_and_nobody_else(world: LivedIn) -> None:
    key = value(world.databases["payments"], f"select key from outbox where topic = '{TOPIC}' limit 1")
    records = tailed(world, f"--key={key}")
    assert {record["key"] for record in records} == {key}
    assert {record["topic"] for record in records} >= {"order.placed", "stock.reserved", TOPIC}


def test_tail_from_a_time_leaves_out_what_is_older(world: LivedIn) -> None:
    everything = kb("events", "tail", "--from=1d", "--no-follow", *broker(world))
    assert len(everything.stdout.splitlines()) > 20
    nothing = kb("events", "tail", "--from=2999-01-01T00:00:00Z", "--no-follow", *broker(world))
    assert (nothing.exit_code, nothing.stdout) == (0, "")


async def test_tail_waits_for_what_comes(world: LivedIn, topics: NEW_TOPIC) -> None:
    """In a process of its own: it may stand there before anything is told, or come after."""
    prefix, key = await topics("order.placed"), str(uuid4())
    words = ["events", "tail", "--from=start", "--most=1", "--topic=order.placed", *broker(world, prefix)]
    waiting = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from infra.cli import app; app()", *words, cwd=ROOT, stdout=subprocess.PIPE
    )
    emit = ["events", "emit-example", "order.placed", f"--key={key}", *broker(world, prefix)]
    emitted = await asyncio.to_thread(kb, *emit)
    assert emitted.exit_code == 0, emitted.output
    async with asyncio.timeout(60):
        told, _ = await waiting.communicate()
    assert waiting.returncode == 0
    assert key in told.decode()


# ----- replay


async def test_replay_says_what_it_would_do_and_then_does_it(world: LivedIn, topics: NEW_TOPIC) -> None:
    prefix = await topics(TOPIC)
    words = ["events", "replay", TOPIC, "--from=1d", f"--to-prefix={prefix}", "--rate=500", *there(world)]
    count = await asyncio.to_thread(value, world.databases["payments"], TOLD)
    dry = await asyncio.to_thread(kb, *words)
    assert dry.exit_code == 0, dry.output
    assert f"{count} events of {TOPIC}" in dry.output
    assert "--send does it" in dry.output
    assert await asyncio.to_thread(lambda: tailed(world, f"--topic={TOPIC}", prefix=prefix)) == []
    done = await asyncio.to_thread(kb, *words, "--send")
    assert done.exit_code == 0, done.output
    assert f"{count} of {count} sent again" in done.output
    originals = await asyncio.to_thread(lambda: tailed(world, f"--topic={TOPIC}"))
    copies = await asyncio.to_thread(lambda: tailed(world, f"--topic={TOPIC}", prefix=prefix))
    assert aside(copies, "offset") == aside(originals, "offset"), "the same bytes in the same partitions"


def test_replay_of_a_key_takes_only_that(world: LivedIn) -> None:
    key = value(world.databases["payments"], f"select key from outbox where topic = '{TOPIC}' limit 1")
    done = kb("events", "replay", TOPIC, "--from=1d", f"--key={key}", *there(world))
    assert f"1 events of {TOPIC}" in done.output
    assert key in done.output


@pytest.mark.parametrize(
    ("statement", "topic"),
    [
        (
            UNPUBLISHED.format(
                key="(select key from outbox limit 1)", topic="payment.opened", event_id=SOME_ID
            ),
            "payment.opened",
        ),
        (REFUSED.format(topic="payment.opened"), "payment.opened"),
    ],
    ids=["not published yet", "refused by the broker"],
)
def test_replay_leaves_out_what_has_not_been_published(world: LivedIn, statement: str, topic: str) -> None:
    rows = value(world.databases["payments"], f"select count(*) from outbox where topic = '{topic}'")
    published = rows if "insert into outbox (" in statement else rows - 1
    dsn = asyncio.run(planted(world, "payments", [statement]))
    done = kb("events", "replay", topic, "--from=1d", *there(world, payments=dsn))
    asyncio.run(databases.drop(world.admin_dsn, dsn.rpartition("/")[2]))
    assert f"{published} events of {topic}" in done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["order.gone"], "there is no topic `order.gone`"),
        (["order.placed", "--from=1d", "--most=2"], "more than 2 events: narrow it"),
        (["order.placed", "--most=20000"], "equal to 10000"),
        (["order.placed", "--from=soon"], "`soon` is no time"),
        (["order.state", "--from=1d"], "an older copy would take its place"),
        (["order.placed", "--from=1d", "--to-prefix=nowhere.", "--send"], "create it first"),
    ],
)
def test_a_replay_that_cannot_be_meant_is_refused(world: LivedIn, words: list[str], says: str) -> None:
    done = kb("events", "replay", *words, *there(world))
    assert done.exit_code == 2
    assert says in done.output


def test_a_replay_needs_the_database_of_the_teller(world: LivedIn, free_port: Callable[[], int]) -> None:
    orders_alone = [f"--database=orders={world.databases['orders']}", *broker(world)]
    done = kb("events", "replay", TOPIC, *orders_alone)
    assert done.exit_code == 2
    assert "is told by payments: give --database payments=DSN" in done.output
    away = kb("events", "replay", TOPIC, *there(world, payments=f"postgresql://a@127.0.0.1:{free_port()}/b"))
    assert away.exit_code == 2
    assert "not possible: " in away.output


# ----- examples


@pytest.mark.parametrize("name", ["order.placed", "payment.verified", "order.state"])
@pytest.mark.parametrize("whole", [False, True])
async def test_an_example_is_read_as_an_event(
    world: LivedIn,
    topics: NEW_TOPIC,
    name: str,
    whole: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    prefix = await topics(name)
    words = ["events", "emit-example", name, *(["--whole"] if whole else []), *broker(world, prefix)]
    done = await asyncio.to_thread(kb, *words)
    assert done.exit_code == 0, done.output
    (sent,) = await asyncio.to_thread(lambda: tailed(world, f"--topic={name}", prefix=prefix))
    record = Record(
        name, sent["partition"], sent["offset"], sent["key"], sent["body"].encode(), sent["headers"]
    )
    heard = read(record, BY_NAME[name].event, now_ms=int(time() * 1000))
    assert isinstance(heard, Heard), heard
    assert f"{prefix}{name}[{sent['partition']}]@{sent['offset']}" in done.output


def test_an_example_is_not_sent_where_services_read(world: LivedIn) -> None:
    done = kb("events", "emit-example", "order.placed", *broker(world))
    assert done.exit_code == 2
    assert "it would take the example for true" in done.output
    bare = kb("events", "emit-example", "order.placed", *broker(world, ""))
    assert bare.exit_code == 2
    assert "read by the services of an installation" in bare.output


def test_a_topic_that_is_missing_is_made_only_when_asked_for(world: LivedIn) -> None:
    prefix = f"t{uuid4().hex[:12]}."
    words = ["events", "emit-example", "order.placed", *broker(world, prefix)]
    refused = kb(*words)
    assert refused.exit_code == 2
    assert f"there is no topic {prefix}order.placed" in refused.output
    try:
        assert kb(*words, "--create").exit_code == 0
        assert len(tailed(world, prefix=prefix)) == 1
    finally:
        asyncio.run(provisioning.delete(world.kafka, [f"{prefix}order.placed"]))


@pytest.mark.parametrize(
    "words",
    [
        ["tail", "--no-follow"],
        ["replay", "order.placed"],
        ["emit-example", "order.placed", "--topic-prefix=mine."],
    ],
)
def test_without_a_stack_it_says_what_to_do(words: list[str]) -> None:
    done = kb("events", *words, "--instance=nowhere")
    assert done.exit_code == 2
    assert "start one with `make dev`" in done.output


def test_without_a_broker_it_says_so(free_port: Callable[[], int]) -> None:
    done = kb("events", "tail", "--no-follow", f"--kafka=127.0.0.1:{free_port()}")
    assert done.exit_code == 2
    assert "not possible: KafkaConnectionError" in done.output
