"""A run from beginning to end: the system laid open, people, faults, quiet, and the judgement."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError
from rich.console import Console

from infra.audit import audit, quiet
from infra.audit.broker import connect
from infra.audit.report import Report as Audit
from infra.audit.world import connections
from infra.issuer import Issuer
from infra.parts import AUDIENCE, ISSUER
from infra.people import Admin, Api
from infra.ports import free_port
from infra.stack import Stack
from tests.chaos import checker, folder, report
from tests.chaos.caller import Doors, gate_at
from tests.chaos.clients import PAY_WITHIN_S, Market
from tests.chaos.faults import INJECTIONS
from tests.chaos.ground import Ground, NothingHitError, everybody
from tests.chaos.history import Op, Recorder, read
from tests.chaos.judged import without_planted
from tests.chaos.market import Crowd, put_on_sale
from tests.chaos.proxy import Proxy
from tests.chaos.replayed import replay_of
from tests.chaos.schedule import OWNERS, REPLICAS, SERVICES, Planned, schedule
from tests.fakes.esewa import Simulator

SETTINGS: Final = {
    "KB_PAY_WITHIN_S": str(PAY_WITHIN_S),
    "KB_CUT_OFF_S": "5",
    "KB_GRACE_S": "5",
    "KB_ESEWA_TTL_S": "60",
    "KB_POLL_AFTER_OPEN_S": "[1, 2, 4, 8, 16, 24, 32, 40, 50]",
    "KB_POLL_AFTER_EXPIRY_S": "[5, 10, 20, 30, 45, 60, 90, 120, 180]",
    "KB_POLL_UNDECIDED_EVERY_S": "3",
    "KB_POLL_UNKNOWN_FIRST_S": "1",
    "KB_POLL_UNKNOWN_MOST_S": "8",
    "KB_GATEWAY_CALLS_PER_S": "1000",
    "KB_CUSTOMER_PER_MINUTE": "1000000",
    "KB_VENDOR_PER_MINUTE": "1000000",
    "KB_STAFF_PER_MINUTE": "1000000",
    "KB_ANONYMOUS_PER_MINUTE": "1000000",
    "KB_POOL_SIZE": "6",
}
"""Short times to pay, so that some pay late; one client stands for many; everything else as in production."""
INJECTED_WITHIN_S: Final = 20.0
AWAY: Final = (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError, NothingHitError)
WAITS_FOR_QUIET_S: Final = 120.0
READY_WITHIN_S: Final = 60.0
MONEY_KNOWN_WITHIN_S: Final = 90.0
AUDITED_WHEN_QUIET_FOR_S: Final = 60.0
CHARGES: Final = "select count(*) from charges"
PLACED: Final = "select customer_id, array_agg(order_id) as ids from checkouts group by customer_id"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be run: the seed, for how long things are broken, how many customers come.

    `history` is the folder of an order history that is replayed meanwhile.
    """

    seed: int
    seconds: float
    customers_per_s: float
    command: str
    least_faults: int = 1
    least_kinds: int = 1
    quiet_within_s: float = checker.QUIET_WITHIN_S
    history: Path | None = None


@dataclass(slots=True)
class Run:
    """One run on one ground."""

    wish: Wish
    ground: Ground
    crowd: Crowd
    recorder: Recorder
    console: Console

    async def break_things(self) -> None:
        """Every fault at its time, whatever became of the ones before; returns when the last is over."""
        begun = monotonic()
        async with asyncio.TaskGroup() as group:
            for planned in schedule(self.wish.seed, self.wish.seconds):
                group.create_task(self._break(planned, begun))

    async def _break(self, planned: Planned, begun: float) -> None:
        await asyncio.sleep(max(0.0, begun + planned.at_s - monotonic()))
        args = {"fault": planned.fault, "target": planned.target, "lasts_s": planned.lasts_s}
        asked = self.recorder.invoke(report.NEMESIS, planned.kind, args)
        try:
            detail = await self._inject(planned)
        except Exception as error:  # noqa: BLE001 - what is broken already may not let itself be broken so
            where = traceback.extract_tb(error.__traceback__)[-1].name
            self.recorder.end(asked, "fail", detail=f"{error!r} in {where}"[:300])
        else:
            self.recorder.end(asked, "ok", detail=detail)
            self.console.print(f"{planned.at_s:6.1f} s  {planned.kind}: {detail}", highlight=False)

    async def _inject(self, planned: Planned) -> str:
        """A fault that needs what another fault has just taken away is tried again."""
        give_up = monotonic() + INJECTED_WITHIN_S
        while True:
            try:
                return await INJECTIONS[planned.kind](self.ground, planned)
            except AWAY:
                if monotonic() > give_up:
                    raise
            await asyncio.sleep(1.0)

    async def quiet_after(self) -> float | None:
        """Seconds until everybody is there and everything told was heard, from now; None when never."""
        begun, stack = monotonic(), self.ground.stack
        try:
            await self._all_ready()
            async with connections(stack.databases) as opened, connect(self.ground.kafka, "") as broker:
                moving = await quiet.wait(opened, broker, WAITS_FOR_QUIET_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not quiet
            moving = (f"nobody can tell: {error!r}",)
        self.crowd.broken += [f"not quiet: {what}" for what in moving]
        return None if moving else monotonic() - begun

    async def _all_ready(self) -> None:
        for name in (*everybody(), "postgres", "kafka"):
            await self.ground.stack.wait_ready(name, READY_WITHIN_S)

    async def all_money_known(self) -> None:
        """Payments asks by itself until it knows all the money; the audit says what is missing then."""
        until = monotonic() + MONEY_KNOWN_WITHIN_S
        async with self.ground.admin("payments") as connection:
            while monotonic() < until:
                paid = sum(one.paid_at is not None for one in await self.ground.esewa.truth())
                if await connection.fetchval(CHARGES) >= paid:
                    return
                await asyncio.sleep(1.0)


async def run(place: Path, wish: Wish, console: Console) -> report.Report:
    """The whole run; its folder keeps the history and, when the run is red, everything to understand it."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its clients meet what we break
    begun = monotonic()
    place.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(place / "history.jsonl", run=place.name, seed=wish.seed)
    with recorder:
        async with _laid_open(place, console) as ground:
            found = await _on(ground, wish, recorder, console)
            found.took_s = monotonic() - begun
            report.show(found, console)
            await folder.keep(place, found, ground.stack)
    folder.clear(place, found)
    return found


async def _on(ground: Ground, wish: Wish, recorder: Recorder, console: Console) -> report.Report:
    doors = Doors([gate_at(url) for url in ground.gates], ground.make_token, recorder)
    journal = recorder.path.with_name("replay.jsonl")
    try:
        async with replay_of(ground, wish.history, journal) as replay:
            crowd = await _crowd(ground, wish, doors)
            one = Run(wish, ground, crowd, recorder, console)
            shopping = asyncio.create_task(crowd.come_and_go())
            replaying = asyncio.create_task(replay.play()) if replay else None
            await one.break_things()
            crowd.market.closed.set()
            if replaying:
                await replaying
            quiet_after_s = await one.quiet_after()
            await shopping
            await one.all_money_known()
            judged = await _audited(ground)
            await crowd.last_look()
            further = [await replay.judged(console)] if replay else []
    finally:
        await doors.close()
    facts = checker.Facts(await _placed(ground), quiet_after_s, wish.quiet_within_s)
    ops = read(recorder.path)
    return _reported(wish, ops, [*checker.check(ops, facts), *further], facts, judged, crowd.broken)


async def _crowd(ground: Ground, wish: Wish, doors: Doors) -> Crowd:
    api = Api.at(ground.gates[0])
    try:
        plenty, scarce = await put_on_sale(Admin(api, ground.make_token), wish.seconds, wish.customers_per_s)
    finally:
        await api.close()
    market = Market(doors, ground.esewa, plenty, scarce, monotonic(), wish.seconds)
    return Crowd(market, wish.seed, wish.customers_per_s)


async def _audited(ground: Ground) -> Audit:
    found = await audit(
        databases=ground.stack.databases,
        kafka=ground.kafka,
        truth_url=ground.stack.addresses["esewa-control"],
        wait_quiet_s=AUDITED_WHEN_QUIET_FOR_S,
    )
    return await without_planted(found, ground)


async def _placed(ground: Ground) -> dict[str, frozenset[str]]:
    async with ground.admin("orders") as connection:
        rows: Sequence[asyncpg.Record] = await connection.fetch(PLACED)
    return {str(row["customer_id"]): frozenset(map(str, row["ids"])) for row in rows}


def _reported(
    wish: Wish,
    ops: Sequence[Op],
    checks: Sequence[checker.Checked],
    facts: checker.Facts,
    judged: Audit,
    broken: Sequence[str],
) -> report.Report:
    faults = report.felt(ops)
    return report.Report(
        seed=wish.seed,
        seconds=wish.seconds,
        faults=faults,
        orders=report.orders_of(ops),
        tension=report.tension_of(ops, faults),
        answers=report.answers_of(ops),
        checks=checks,
        audit=judged,
        broken_clients=broken,
        quiet_after_s=facts.quiet_after_s,
        command=wish.command,
        needs={"faults": wish.least_faults, "kinds": wish.least_kinds},
    )


@asynccontextmanager
async def _laid_open(place: Path, console: Console) -> AsyncIterator[Ground]:
    """Two of every service, each line between them through a proxy of ours."""
    ports = {"postgres": free_port(), "kafka": free_port()}
    targets = {"kafka": ports["kafka"]} | dict.fromkeys(OWNERS, ports["postgres"])
    async with AsyncExitStack() as after:
        proxies = {name: Proxy(free_port(), target) for name, target in targets.items()}
        for proxy in proxies.values():
            await after.enter_async_context(proxy)
        stack = Stack(
            place / "stack",
            replicas=dict.fromkeys(SERVICES, REPLICAS),
            env=SETTINGS,
            report=folder.said_in(place / "supervision.log"),
            ports=ports,
            fronts={name: proxy.port for name, proxy in proxies.items()},
        )
        await after.enter_async_context(stack)
        console.print(f"the system is up in {place}", highlight=False)
        issuer = Issuer.read(stack.keys.issuer_pem, ISSUER, AUDIENCE)
        addresses = stack.addresses
        esewa = await after.enter_async_context(Simulator(addresses["esewa"], addresses["esewa-control"]))
        databases = {name: proxies[name] for name in OWNERS}
        yield Ground(stack, databases, proxies["kafka"], esewa, issuer.make_token)
