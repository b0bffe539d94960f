"""Gate 2: relays that freeze, lag and die hand the shards on without a loss or a broken order."""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import asyncpg

from services.chassis.leases import Terms
from services.chassis.relay import Pace, Relay
from tests.support.pausable import Pausable
from tests.support.torture import naive, writers
from tests.support.torture.judge import Fact, Verdict, committed, judge
from tests.support.torture.stub_broker import StubBroker, StubSink

LEASE_S = 0.6
HASTY = Pace(
    send_s=2.0,
    idle_poll_s=0.05,
    longest_pause_s=0.3,
    terms=Terms(lease_s=LEASE_S, renew_s=LEASE_S / 3, save_s=0.05),
)
DRAINS_WITHIN_S = 60.0


@dataclass(slots=True)
class Blows:
    """What the relays had to take."""

    database_frozen: int = 0
    broker_frozen: int = 0
    killed: int = 0


@dataclass(frozen=True, slots=True)
class FailoverTorture:
    """How leased shards fared, and leased rows without any blow at all."""

    relays: Verdict
    row_leases: Verdict
    blows: Blows = field(default_factory=Blows)


class Contender:
    """One relay behind ways that can be frozen and cut; killed, it comes back under another name."""

    def __init__(self, name: str, dsn: str, broker: StubBroker) -> None:
        self.name, self._dsn, self._broker = name, dsn, broker
        self._lives = 0
        self.stopping = asyncio.Event()

    async def start(self) -> None:
        self._lives += 1
        self.way = await Pausable(self._dsn).__aenter__()
        self.sink = StubSink(self._broker)
        self.relay = Relay(
            self.way.dsn,
            service="torture",
            kafka="",
            instance=f"{self.name}-{self._lives}",
            pace=HASTY,
            sink=self.sink,
        )
        self.task = asyncio.create_task(self._keep_running(self.relay))

    async def _keep_running(self, relay: Relay) -> None:
        """Like the supervision of a service: what falls over is started again."""
        while not self.stopping.is_set():
            try:
                await relay.run(self.stopping)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """Gone without a word: nothing is saved, nothing handed back; what was sent may still arrive."""
        self.way.cut()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.way.__aexit__()

    async def stop(self) -> None:
        self.way.thaw()
        self.sink.open.set()
        self.stopping.set()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.way.__aexit__()


async def torture_failover(
    dsn: str, admin_dsn: str, *, seconds: float, relays: int = 3, seed: int = 1
) -> FailoverTorture:
    """Write and strike for so many seconds, let everything drain, judge."""
    await writers.prepare(admin_dsn)
    broker, blows, leased = StubBroker(), Blows(), list[Fact]()
    contenders = [Contender(f"relay-{n}", dsn, broker) for n in range(relays)]
    over = asyncio.Event()
    async with AsyncExitStack() as after:
        for one in contenders:
            await one.start()
            after.push_async_callback(one.stop)
        work = writers.Writing(writers=8, pause_s=0.02, slow_s=(0.05, 0.3), queue=True, seed=seed)
        rows = [naive.lease_rows(admin_dsn, leased, over.is_set, random.Random(n)) for n in range(relays)]
        background = asyncio.gather(writers.write(admin_dsn, work, over.is_set), *rows)
        await _strike(contenders, blows, seconds, random.Random(seed))
        over.set()
        await background
        truth = await committed(admin_dsn)
        await _drain(broker, len(truth))
    return FailoverTorture(judge(broker.log, truth), judge(leased, truth), blows)


async def _strike(contenders: list[Contender], blows: Blows, seconds: float, dice: random.Random) -> None:
    """One blow after the other, for about so long, each at any of the relays."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        one = dice.choice(contenders)
        blow = dice.choices(("database", "broker", "kill"), (4, 4, 2))[0]
        pause = dice.uniform(0.3, 1.6)
        if blow == "database":
            blows.database_frozen += 1
            one.way.freeze()
            loop.call_later(pause, one.way.thaw)
        elif blow == "broker":
            blows.broker_frozen += 1
            one.sink.open.clear()
            loop.call_later(pause, one.sink.open.set)
        else:
            blows.killed += 1
            await one.kill()
            await one.start()
        await asyncio.sleep(dice.uniform(0.05, 0.5))


async def _drain(broker: StubBroker, count: int) -> None:
    """Wait until all has arrived; what has not by then is judged as lost."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DRAINS_WITHIN_S
    while len(broker.first) < count and loop.time() < end:  # noqa: ASYNC110 - any of them may bring the last
        await asyncio.sleep(0.05)
