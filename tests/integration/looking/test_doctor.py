"""`kb doctor`: nothing to say about a healthy installation, each planted fault found, never a traceback."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from contracts.topics import BY_NAME, TOPICS
from infra import databases, places, topics
from infra.doctor import tables
from services.chassis.reconciler import Reconciler
from tests.fakes.esewa import running_simulator
from tests.integration.audit.lived_in import OWNERS, LivedIn, _clone, _people, planted
from tests.integration.looking.asking import kb, there
from tests.integration.looking.faults import FAULTS, Fault
from tests.support import run
from tests.support.tokens import tokens_in
from tests.support.waiting import until

Findings = dict[str, list[dict[str, str]]]


def examined(folder: Path, *words: str) -> tuple[int, Findings]:
    """Exit code and findings by check."""
    file = folder / f"{uuid4().hex}.json"
    done = kb("doctor", *words, "--json", str(file))
    assert not isinstance(done.exception, Exception), done.output
    found: Findings = json.loads(file.read_text())["findings"]
    assert all(one["do"] for findings in found.values() for one in findings)
    return done.exit_code, found


def said(found: Findings, check: str) -> str:
    return "\n".join(one["what"] for one in found[check])


# ----- healthy


@pytest.fixture
async def living(tmp_path: Path) -> AsyncIterator[LivedIn]:
    """Real services that run as long as the test does."""
    admin_dsn, kafka, prefix = run.ask("postgres"), run.ask("kafka"), f"t{uuid4().hex[:12]}."
    await topics.create(kafka, prefix=prefix)
    names = {service: f"t_{service}_{uuid4().hex}" for service in OWNERS}
    dsns = {service: await _clone(admin_dsn, service, name) for service, name in names.items()}
    try:
        async with running_simulator() as simulator, _people(tmp_path, dsns, kafka, prefix, simulator):
            yield LivedIn(admin_dsn, dsns, kafka, prefix, [])
    finally:
        for name in names.values():
            await databases.drop(admin_dsn, name)
        await topics.delete(kafka, [f"{prefix}{one.name}" for one in TOPICS])


async def test_a_healthy_installation_has_no_findings(living: LivedIn, tmp_path: Path) -> None:
    jwks = f"--jwks={tokens_in(tmp_path).jwks}"
    last: Findings = {}

    async def is_well() -> bool:
        nonlocal last
        code, last = await asyncio.to_thread(examined, tmp_path, *there(living), jwks)
        return code == 0

    await until(is_well, within_s=60, what="the doctor finds nothing")
    assert not any(last.values()), last


# ----- planted


@pytest.fixture(scope="module")
def before(world: LivedIn, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """What is said of the world before anything is planted: its services have stopped."""
    return examined(tmp_path_factory.mktemp("before"), *there(world))[1]


@pytest.mark.parametrize("one", FAULTS)
def test_a_planted_fault_is_found(world: LivedIn, before: Findings, tmp_path: Path, one: Fault) -> None:
    assert one.says not in said(before, one.check)
    dsn = asyncio.run(planted(world, one.service, [one.statement]))
    code, found = examined(tmp_path, *there(world, **{one.service: dsn}))
    asyncio.run(databases.drop(world.admin_dsn, dsn.rpartition("/")[2]))
    assert code == 1
    assert one.says in said(found, one.check)
    assert found["answers"] == []


def test_services_that_do_not_run_are_found(world: LivedIn, tmp_path: Path) -> None:
    code, found = examined(tmp_path, *there(world))
    assert code == 1
    for service in OWNERS:
        assert f"nobody reads for {service}" in said(found, "groups")
        assert f"nobody publishes partitions [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] of {service}" in said(
            found, "relays"
        )
    assert found["schemas"] == found["topics"] == found["parked"] == found["clocks"] == found["lag"] == []


async def test_topics_that_are_not_as_declared_are_found(
    world: LivedIn, tmp_path: Path, kafka: str, topics: Callable[..., Awaitable[str]]
) -> None:
    prefix = await topics("order.placed")
    other = [
        replace(BY_NAME["order.expired"], partitions=3),
        replace(BY_NAME["order.state"], cleanup="delete"),
    ]
    made = await provisioned(kafka, other, prefix)
    try:
        moved = LivedIn(world.admin_dsn, world.databases, kafka, prefix, [])
        code, found = await asyncio.to_thread(examined, tmp_path, *there(moved))
    finally:
        await remove(kafka, made)
    assert code == 1
    text = said(found, "topics")
    assert "topics are missing: order.revived, order.finalized" in text
    assert "order.placed" not in text
    assert "order.expired has 3 partitions, the contract says 12" in text
    assert "order.state is cleaned up by `delete`, the contract says `compact`" in text


async def test_a_late_reader_is_found_by_the_age_of_what_it_left(
    world: LivedIn, tmp_path: Path, kafka: str, topics: Callable[..., Awaitable[str]]
) -> None:
    prefix = await topics()
    long_ago = int((datetime.now(UTC) - timedelta(minutes=10)).timestamp() * 1000)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(f"{prefix}order.placed", b"{}", partition=5, timestamp_ms=long_ago)
    await producer.send_and_wait(f"{prefix}stock.reserved", b"{}", partition=6)
    await producer.stop()
    moved = LivedIn(world.admin_dsn, world.databases, kafka, prefix, [])
    found = (await asyncio.to_thread(examined, tmp_path, *there(moved)))[1]
    assert len(found["lag"]) == 1, "what has just come is not late"
    assert found["lag"][0]["what"].startswith("inventory has yet to read 1 records, the oldest 6")
    assert "order.placed[5]" in found["lag"][0]["what"]


async def provisioned(kafka: str, chosen: list[Any], prefix: str) -> list[str]:
    return await topics.create(kafka, chosen, prefix=prefix)


async def remove(kafka: str, names: list[str]) -> None:
    await topics.delete(kafka, names)


# ----- down, or half up


@pytest.fixture
def stack_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes down what a stack says of itself, as if it had been killed since."""
    monkeypatch.setattr(places, "ROOT", tmp_path)

    def write(**told: Any) -> Path:  # noqa: ANN401 - whatever a stack says
        folder = tmp_path / ".run" / "mine"
        folder.mkdir(parents=True)
        (folder / "stack.json").write_text(json.dumps(told))
        return folder

    yield write
    shutil.rmtree(tmp_path / ".run", ignore_errors=True)


def test_a_killed_stack_is_examined_as_far_as_it_goes(
    stack_of: Callable[..., Path], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    stack_of(
        databases={service: f"postgresql://kb:secret@{dead}/kb_{service}" for service in OWNERS},
        addresses={"kafka": dead, "orders": f"http://{dead}", "orders-0": f"http://{dead}"},
        jwks=str(tmp_path / "gone.json"),
    )
    code, found = examined(tmp_path, "--instance=mine", "--least-free=1000000")
    assert code == 1
    assert "no stack runs in" in said(found, "stack")
    assert said(found, "processes") == "orders-0 is not ready: no answer (ConnectError)"
    assert "the key set cannot be read: No such file or directory" in said(found, "keys")
    assert "GiB are free below mine" in said(found, "disk")
    assert len(found["databases"]) == 3
    assert "secret" not in json.dumps(found)
    assert "the broker cannot be asked" in said(found, "broker")


def test_what_nobody_could_look_at_is_not_told_as_good_news(free_port: Callable[[], int]) -> None:
    dead = f"127.0.0.1:{free_port()}"
    done = kb("doctor", f"--database=orders=postgresql://kb:secret@{dead}/kb", f"--kafka={dead}")
    assert done.exit_code == 1
    told = done.output.splitlines()
    assert [line for line in told if line.startswith("ok ")] == []
    unseen = [line.split()[1] for line in told if line.startswith("?")]
    assert unseen[:4] == ["stack:", "processes:", "disk:", "keys:"]
    assert {"schemas:", "topics:", "lag:", "reconcilers:"} < set(unseen)


def test_half_a_stack_is_examined_too(world: LivedIn, tmp_path: Path, free_port: Callable[[], int]) -> None:
    dead = f"postgresql://kb@127.0.0.1:{free_port()}/kb"
    found = examined(tmp_path, *there(world, payments=dead))[1]
    assert "the database of payments cannot be asked" in said(found, "databases")
    assert "of orders" in said(found, "relays")
    assert "of payments" not in said(found, "relays")
    shown = kb("doctor", *there(world, payments=dead)).output
    assert "ok     schemas: they are this release's (of orders, inventory)" in shown


def test_a_key_set_that_is_none_is_found(world: LivedIn, tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    for text, says in [("{}", "the key set is none: KeyError"), ('{"keys": []}', "the key set is empty")]:
        jwks.write_text(text)
        assert says in said(examined(tmp_path, *there(world), f"--jwks={jwks}")[1], "keys")


def test_a_database_nobody_named_is_asked_for(world: LivedIn, tmp_path: Path) -> None:
    found = examined(tmp_path, f"--database=orders={world.databases['orders']}")[1]
    assert "nobody said where the database of payments is" in said(found, "databases")


def test_no_stack_at_all_is_one_finding() -> None:
    done = kb("doctor", "--instance=nowhere")
    assert done.exit_code == 1
    assert "start one with `make dev`" in done.output


# ----- without a world


async def never(*_: object) -> int:
    return 0


NOW = datetime(2026, 1, 15, 6, 30, tzinfo=UTC)
DUTY = Reconciler("heals", 60, never)


@pytest.mark.parametrize(
    ("ago_s", "paused_s", "found"),
    [(300, None, 0), (400, None, 1), (400, 10, 0), (400, -10, 1), (None, None, 1)],
)
def test_a_duty_is_silent_after_six_rounds_unless_it_is_paused(
    ago_s: float | None, paused_s: float | None, found: int
) -> None:
    row = {
        "now": NOW,
        "last_success_at": None if ago_s is None else NOW - timedelta(seconds=ago_s),
        "last_error": None,
        "paused_until": None if paused_s is None else NOW + timedelta(seconds=paused_s),
    }
    assert len(list(tables.silence("orders", DUTY, row))) == found


def test_a_clock_is_only_wrong_beyond_what_the_question_took() -> None:
    assert tables.apart(NOW, NOW + timedelta(seconds=3), took_s=5) == 0
    assert tables.apart(NOW, NOW + timedelta(seconds=3), took_s=1) == 2
    assert tables.apart(NOW, NOW - timedelta(seconds=3), took_s=5) == 3


def test_every_service_has_duties_to_listen_for() -> None:
    for service in OWNERS:
        names = [duty.name for duty in tables.duties(service)]
        assert len(names) == len(set(names)) > 3
