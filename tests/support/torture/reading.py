"""Gate 1: a reader beside slow, rolled-back, nested and early transactions loses and reorders nothing."""

import asyncio
from dataclasses import dataclass

from services.chassis.relay import Relay
from tests.support.torture import naive, writers
from tests.support.torture.judge import Fact, Verdict, committed, judge
from tests.support.torture.stub_broker import StubBroker, StubSink
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class ReaderTorture:
    """How each reader fared on the same stream."""

    relay: Verdict
    by_id: Verdict
    below_horizon: Verdict


async def torture_reader(dsn: str, admin_dsn: str, writing: writers.Writing) -> ReaderTorture:
    """Run the writers with our relay and the naive readers beside them, then judge all three."""
    await writers.prepare(admin_dsn)
    broker, stopping = StubBroker(), asyncio.Event()
    by_id: list[Fact] = []
    below: list[Fact] = []
    relay = Relay(dsn, service="torture", kafka="", sink=StubSink(broker))
    reading = [
        asyncio.create_task(relay.run(stopping)),
        asyncio.create_task(naive.read_by_id(admin_dsn, by_id, stopping.is_set)),
        asyncio.create_task(naive.read_below_horizon(admin_dsn, below, stopping.is_set)),
    ]
    await writers.write(admin_dsn, writing)
    truth = await committed(admin_dsn)
    await _drained(broker, len(truth))
    stopping.set()
    await asyncio.gather(*reading)
    return ReaderTorture(judge(broker.log, truth), judge(by_id, truth), judge(below, truth))


async def _drained(broker: StubBroker, count: int) -> None:
    async def arrived() -> bool:
        return len(broker.first) >= count

    await until(arrived, within_s=60, what="everything arrives")
