"""A run from beginning to end: the system laid open, people, faults, quiet, and the judgement."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
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
from tests.chaos.needs import Needs, needs_of
from tests.chaos.proxy import Proxy
from tests.chaos.replayed import Replay, replay_of
from tests.chaos.schedule import OWNERS, REPLICAS, SERVICES, Planned, schedule
from tests.chaos.watch import watching
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
INJECTED_WITHIN_S: Final = 40.0
AWAY: Final = (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError, NothingHitError)
WAITS_FOR_QUIET_S: Final = 120.0
READY_WITHIN_S: Final = 60.0
MONEY_KNOWN_WITHIN_S: Final = 90.0
AUDITED_WHEN_QUIET_FOR_S: Final = 60.0
CHARGES: Final = "select count(*) from charges"
IN_REVIEW: Final = "select distinct subject_id from review_cases where open"
PLACED: Final = "select customer_id, array_agg(order_id) as ids from checkouts group by customer_id"
NOTHING: Final = checker.Facts(None, None)
NOT_AUDITED: Final = Audit((), (), 0.0)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be run: the seed, for how long things are broken, how many customers come.

    `history` is the folder of an order history that is replayed meanwhile; `needs` is the least that the run
    must have done, by default what follows from its schedule.
    """

    seed: int
    seconds: float
    customers_per_s: float
    command: str
    history: Path | None = None
    needs: Needs | None = None

    @property
    def least(self) -> Needs:
        planned = schedule(self.seed, self.seconds)
        return self.needs or needs_of(planned, self.seconds, self.customers_per_s)


@dataclass(slots=True)
class Seen:
    """What the run has come to know, as far as it came; `broken` is what went wrong with itself."""

    broken: list[str] = field(default_factory=list)
    checks: list[checker.Checked] = field(default_factory=list)
    facts: checker.Facts = NOTHING
    audit: Audit = NOT_AUDITED

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What breaks inside makes the run red; it neither ends it nor leaves it without a report."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs no other judgement
            where = traceback.extract_tb(error.__traceback__)[-1].name
            self.broken.append(f"the run itself broke: {error!r} in {where}"[:300])


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

    async def quiet_after(self, since: float) -> float | None:
        """Seconds from then until everybody is there and all that was told is heard; None when never."""
        stack = self.ground.stack
        try:
            await self._all_ready()
            async with connections(stack.databases) as opened, connect(self.ground.kafka, "") as broker:
                moving = await quiet.wait(opened, broker, WAITS_FOR_QUIET_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not quiet
            moving = (f"nobody can tell: {error!r}",)
        self.crowd.broken += [f"not quiet: {what}" for what in moving]
        return None if moving else monotonic() - since

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
    with folder.cleared(place) as left, recorder:
        async with _laid_open(place, console) as ground:
            found = await reported_on(ground, wish, recorder, console)
            found.took_s = monotonic() - begun
            report.show(found, console)
            await folder.keep(place, found, ground.stack)
            left.found = found
    return found


async def reported_on(ground: Ground, wish: Wish, recorder: Recorder, console: Console) -> report.Report:
    """What was found, as far as the run came: an error of its own is one more reason why it is red."""
    seen, ops = Seen(), list[Op]()
    with seen.noted():
        await _on(ground, wish, recorder, console, seen)
    with seen.noted():
        ops = read(recorder.path)
        seen.checks = [*checker.check(ops, seen.facts), *seen.checks]
    return _reported(wish, ops, seen)


async def _on(ground: Ground, wish: Wish, recorder: Recorder, console: Console, seen: Seen) -> None:
    doors = Doors([gate_at(url) for url in ground.gates], ground.make_token, recorder)
    journal = recorder.path.with_name("replay.jsonl")
    try:
        async with replay_of(ground, wish.history, journal) as replay:
            crowd = await _crowd(ground, wish, doors, seen.broken)
            one = Run(wish, ground, crowd, recorder, console)
            quiet_after_s = await _broken_until_quiet(one, replay, seen)
            await _judged(one, replay, seen, quiet_after_s)
    finally:
        await doors.close()


async def _broken_until_quiet(one: Run, replay: Replay | None, seen: Seen) -> float | None:
    """People come, things break, and from the end of the last fault on quiet is waited for.

    Nobody new comes then, and a replay begins no further order until it is quiet; it goes on afterwards.
    """
    people = [asyncio.create_task(one.crowd.come_and_go())]
    people += [asyncio.create_task(replay.play())] if replay else []
    try:
        async with watching(one.ground.stack.databases) as looks:
            await one.break_things()
            over = monotonic()
            one.crowd.market.closed.set()
            with replay.held() if replay else nullcontext():
                quiet_after_s = await one.quiet_after(over)
        seen.checks.append(looks.checked())
        await asyncio.gather(*people)
    finally:
        for task in people:
            task.cancel()
        await asyncio.gather(*people, return_exceptions=True)
    return quiet_after_s


async def _judged(one: Run, replay: Replay | None, seen: Seen, quiet_after_s: float | None) -> None:
    """Each judgement by itself: one that cannot be made costs no other."""
    placed, in_review = None, frozenset[str]()
    with seen.noted():
        await one.all_money_known()
    with seen.noted():
        placed, in_review = await _placed(one.ground), await _in_review(one.ground)
    seen.facts = checker.Facts(placed, quiet_after_s, in_review)
    with seen.noted():
        seen.audit = await _audited(one.ground)
    with seen.noted():
        await one.crowd.last_look(placed or {})
    if replay:
        with seen.noted():
            seen.checks.append(await replay.judged(one.console))


async def _crowd(ground: Ground, wish: Wish, doors: Doors, broken: list[str]) -> Crowd:
    api = Api.at(ground.gates[0])
    try:
        plenty, scarce = await put_on_sale(Admin(api, ground.make_token), wish.seconds, wish.customers_per_s)
    finally:
        await api.close()
    market = Market(doors, ground.esewa, plenty, scarce, monotonic(), wish.seconds)
    return Crowd(market, wish.seed, wish.customers_per_s, broken=broken)


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


async def _in_review(ground: Ground) -> frozenset[str]:
    async with ground.admin("payments") as connection:
        return frozenset(str(row["subject_id"]) for row in await connection.fetch(IN_REVIEW))


def _reported(wish: Wish, ops: Sequence[Op], seen: Seen) -> report.Report:
    faults = report.felt(ops)
    return report.Report(
        seed=wish.seed,
        seconds=wish.seconds,
        faults=faults,
        orders=report.orders_of(ops),
        tension=report.tension_of(ops, faults),
        answers=report.answers_of(ops),
        checks=seen.checks,
        audit=seen.audit,
        broken=seen.broken,
        quiet_after_s=seen.facts.quiet_after_s,
        command=wish.command,
        needs=wish.least,
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
