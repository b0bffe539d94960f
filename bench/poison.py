"""One record among many cannot take effect: what the others feel of it, and how an operator puts it right.

A trigger spoils its body where it is told, as a fault in the teller would. The relay publishes it like any
other, so the outbox, the topic and the audit agree that this is what was said.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import asyncpg

from bench import catalogue
from bench.by_http import ByHttp
from bench.ground import Ground
from bench.load import LATE_SHARE, WARM, Run, closed_loop, open_loop, poisson
from bench.ours import world
from bench.ours.contender import Services
from bench.pipeline import LOG
from bench.results import Gate, Report
from bench.wire import clock
from infra import keys
from infra.issuer import Issuer
from infra.ports import free_port
from services.chassis.settings import ServiceSettings

ROOT: Final = Path(__file__).parents[1]
KB: Final = (sys.executable, "-c", "from infra.cli import app; app()")
WITHIN_S: Final = 120.0
LOOKS_EVERY_S: Final = 0.05
WARM_UP: Final = 2_000
IN_FLIGHT: Final = 2_000
WHY: Final = ("--reason", "the body is not what was meant")
COLUMNS: Final = ("poison", "orders", "p50 ms", "p99 ms", "longest ms", "tries", "healed s")
ORDER: Final = "select order_id from checkouts where customer_id = $1"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Poison:
    """One fault of a teller: `good` becomes `bad` in the body; an operator replaces `wrong` by `right`."""

    name: str
    told_by: str
    topic: str
    of: str
    """Whether a row of the outbox is about customer $customer, in SQL."""
    good: str
    bad: str
    wrong: str
    right: str

    def trigger(self, customer: object) -> str:
        """The fault, for the events of that customer's order."""
        about = self.of.replace("$customer", f"'{customer}'")
        return f"""
            create function spoil() returns trigger language plpgsql as $spoil$ begin
                if new.topic = '{self.topic}' and {about} then
                    new.payload := convert_to(
                        replace(convert_from(new.payload, 'UTF8'), '{self.good}', '{self.bad}'), 'UTF8');
                end if;
                return new;
            end $spoil$;
            create trigger spoil before insert on outbox for each row execute function spoil();
        """


POISONS: Final = (
    Poison(
        "a body against its contract",
        told_by="payments",
        topic="payment.verified",
        of="exists (select from intents where subject_id = new.key::uuid and customer_id = $customer)",
        good='"provider":"esewa"',
        bad='"provider":"eSewa"',
        wrong='"eSewa"',
        right='"esewa"',
    ),
    # It is valid JSON and fits the contract; PostgreSQL cannot store the character, so the whole batch fails.
    Poison(
        "a body that fails its whole batch",
        told_by="inventory",
        topic="stock.reserved",
        of="position(convert_to($customer, 'UTF8') in new.payload) > 0",
        good='"title":"',
        bad=r'"title":"\u0000',
        wrong=r"\u0000",
        right="",
    ),
)


@dataclass(frozen=True, slots=True)
class Healed:
    """How the poisoned order was found and put right."""

    record: str
    failure: str
    tries: int
    seconds: float
    """From the retry to the order."""


class NotHealedError(RuntimeError):
    """The record was not set aside, or putting it right did not help; the message says what was seen."""


async def measure(ground: Ground, orders: int, rate: float) -> Report:
    """The same schedule without poison and with each kind; every run ends with the audit."""
    report = Report("poison", f"A poisoned record among {orders:,} orders at {rate:g}/s", COLUMNS)
    starts = poisson(rate, 2 * orders / rate)[:orders]
    LOG.print("a round for the broker to get warm, then three that count", style="dim")
    await closed_loop(Services(ground), ground, WARM_UP, IN_FLIGHT, WITHIN_S)
    usual, _ = await repeated_when_void("none", partial(_plain, ground, starts))
    _add(report, "none", usual, None)
    for poison in POISONS:
        run, healed = await repeated_when_void(poison.name, partial(_poisoned, ground, starts, poison))
        _add(report, poison.name, run, healed)
        ratio = run.latency.p50 / usual.latency.p50
        report.gates.append(Gate(f"p50 beside {poison.name} / without", ratio, "at most", 1.5))
    report.notes.append("each run ended with the audit: 0 violations")
    return report


async def repeated_when_void(name: str, once: Callable[[], Awaitable[tuple[Run, T]]]) -> tuple[Run, T]:
    """A late load says something about the machine: the run gets one more chance, then it is judged."""
    run, found = await once()
    if not run.void:
        return run, found
    LOG.print(f"{name}: {run.late_share:.1%} of the orders were late; once more", style="dim")
    return await once()


def _add(report: Report, name: str, run: Run, healed: Healed | None) -> None:
    LOG.print(f"{name}: p50 / p99 {run.latency} ms", style="dim")
    late = " VOID: the load was late, twice" if run.void else ""
    cells = (healed.tries, healed.seconds) if healed else ("", "")
    report.add(
        name + late, run.latency.count, run.latency.p50, run.latency.p99, run.latency.longest, *cells,
        poison=name, p50=run.latency.p50, p99=run.latency.p99, longest=run.latency.longest,
        healed_s=healed.seconds if healed else None, void=run.void,
    )  # fmt: skip
    report.gates.append(Gate(f"share of late orders, poison: {name}", run.late_share, "at most", LATE_SHARE))
    if healed:
        report.notes.append(f"{name}: found as {healed.record}, {healed.failure}")


def _services(ground: Ground) -> Services:
    return Services(ground, door=free_port(), more={"parked_edits": True})


async def _plain(ground: Ground, starts: Sequence[float]) -> tuple[Run, None]:
    return await open_loop(ByHttp(ground, _services(ground)), ground, starts, WITHIN_S), None


async def _poisoned(ground: Ground, starts: Sequence[float], poison: Poison) -> tuple[Run, Healed]:
    """The record comes after a third of the schedule; whose it is does not count among the others."""
    services, number = _services(ground), WARM + len(starts) // 3
    async with asyncio.TaskGroup() as group:
        healing = group.create_task(_let_it_happen(services, poison, number, WARM + len(starts)))
        people = ByHttp(ground, services)
        run = await open_loop(people, ground, starts, WITHIN_S, apart={number})
        await healing
    return run, healing.result()


async def _let_it_happen(services: Services, poison: Poison, number: int, orders: int) -> Healed:
    """The fault is there before the order comes; the operator comes when all others are done."""
    await _until(lambda: services.progress.settled > 0, "the services to work")
    connection = await asyncpg.connect(services.databases[poison.told_by])
    try:
        await connection.execute(poison.trigger(catalogue.customer(number)))
    finally:
        await connection.close()
    await _until(lambda: services.progress.settled >= orders - 1, "the other orders", WITHIN_S + orders)
    LOG.print(f"all others are done; now the operator: {poison.name}", style="dim")
    return await Operator.beside(services).heal(poison, number)


async def _until(reached: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not reached():  # noqa: ASYNC110 - what is awaited lives in other processes
                await asyncio.sleep(LOOKS_EVERY_S)
    except TimeoutError:
        raise NotHealedError(f"waited {within_s:g} s for {what}") from None


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at a terminal, whom a customer has told the id of a checkout that does not move."""

    services: Services
    token: str

    @classmethod
    def beside(cls, services: Services) -> "Operator":
        secrets = keys.ensure(services.ground.folder / "keys")
        issuer = Issuer.read(secrets.issuer_pem, ServiceSettings.model_fields["issuer"].default)
        return cls(services, issuer.make_token(subject=uuid4(), roles=["operator"]))

    async def heal(self, poison: Poison, number: int) -> Healed:
        """Find the record, edit it, see what a retry would do, let it be tried."""
        order_id = await self._asked_about(number)
        record = await self._find(order_id)
        seen = json.loads(await self._parked("show", record))
        body = await self._parked("show", record, "--payload")
        if poison.wrong not in body:
            raise NotHealedError(f"{record} is not the spoilt one: {body}")
        await self._parked("edit", record, "-", *WHY, typed=body.replace(poison.wrong, poison.right))
        await self._parked("dry-run", record)
        began = clock()
        await self._parked("retry", record, *WHY)
        finalized = self.services.progress.finalized
        await _until(lambda: number in finalized, "the order once its record was tried again")
        seconds = finalized[number] - began
        return Healed(record, seen["failure"], seen["attempts"], seconds)

    async def _asked_about(self, number: int) -> str:
        """What the customer knows from the answer to their checkout."""
        connection = await asyncpg.connect(self.services.databases["orders"])
        try:
            return str(await connection.fetchval(ORDER, catalogue.customer(number)))
        finally:
            await connection.close()

    async def _find(self, order_id: str) -> str:
        """The name of the record, as the story of the order tells it."""
        ground = self.services.ground
        databases = [f"{one}={world.dsn(ground, one)}" for one in world.SERVICES]
        where = [word for one in databases for word in ("--database", one)]
        where += ["--kafka", ground.bootstrap, "--topic-prefix", self.services.prefix]
        stories: list[dict[str, Any]] = json.loads(await _kb("find", order_id, *where, "--json"))
        parked = [line["text"] for one in stories for line in one["story"] if line["kind"] == "parked"]
        if len(parked) != 1:
            raise NotHealedError(f"one parked record was to be found, not {parked}")
        return str(parked[0].partition(":")[0])

    async def _parked(self, *words: str, typed: str = "") -> str:
        url = f"orders=http://127.0.0.1:{self.services.door}"
        return await _kb("parked", "--url", url, *words, typed=typed, KB_TOKEN=self.token)


async def _kb(*words: str, typed: str = "", **env: str) -> str:
    """What `kb` prints; raises NotHealedError with what it said when it fails."""
    process = await asyncio.create_subprocess_exec(
        *KB, *words, cwd=ROOT, env=os.environ | env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    told, complaint = await process.communicate(typed.encode())
    if process.returncode != 0:
        raise NotHealedError(f"kb {' '.join(words)}: {told.decode()}{complaint.decode()}")
    return told.decode()
