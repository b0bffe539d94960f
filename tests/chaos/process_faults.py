"""Faults of processes: killed, paused, restarted one by one, started before what they need."""

import asyncio
import signal
from collections.abc import Mapping
from time import monotonic
from typing import Final

import psutil

from infra import processes
from tests.chaos.ground import Ground, Injection, everybody, hit, replicas
from tests.chaos.schedule import Planned

STOPS_WITHIN_S: Final = 10.0
STARTS_WITHIN_S: Final = 45.0
LOOKS_EVERY_S: Final = 0.1


async def kill_one(ground: Ground, planned: Planned) -> str:
    return _killed(ground, planned.target)


async def pause_one(ground: Ground, planned: Planned) -> str:
    """A zombie that wakes up: mostly within its leases, in a long run also when others have taken them."""
    await paused(ground.stack.process(planned.target), planned.lasts_s)
    return planned.target


async def paused(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Raises NothingHitError when it has ended already."""
    hit(lives(process))
    processes.send(process, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        processes.send(process, signal.SIGCONT)


def lives(process: asyncio.subprocess.Process) -> bool:
    return process.returncode is None


async def rolling_restart(ground: Ground, planned: Planned) -> str:
    """Each replica is asked to end and is there again before the next is asked."""
    told = [await _restarted(ground, name) for name in replicas(planned.target)]
    return ", ".join(told)


async def _restarted(ground: Ground, name: str) -> str:
    await ground.stack.wait_ready(name, STARTS_WITHIN_S)  # a dead one would have nothing to drain
    process, begun = ground.stack.process(name), monotonic()
    hit(lives(process))
    processes.send(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOPS_WITHIN_S):
            code = await process.wait()
    except TimeoutError:
        processes.send(process, signal.SIGKILL)
        code = await process.wait()
    took_s = monotonic() - begun
    async with asyncio.timeout(STARTS_WITHIN_S):
        while ground.stack.pid(name) == process.pid:  # noqa: ASYNC110 - the supervision takes its time
            await asyncio.sleep(LOOKS_EVERY_S)
    await ground.stack.wait_ready(name, STARTS_WITHIN_S)
    return f"{name} ended with {code} after {took_s:.1f} s"


async def kill_service(ground: Ground, planned: Planned) -> str:
    return _killed(ground, *replicas(planned.target))


async def kill_all(ground: Ground, planned: Planned) -> str:  # noqa: ARG001 - an injection
    return _killed(ground, *everybody())


def _killed(ground: Ground, *names: str) -> str:
    """Those that lived, by name; raises NothingHitError when another fault was faster everywhere."""
    living = [name for name in names if lives(ground.stack.process(name))]
    hit(len(living))
    for name in living:
        ground.stack.kill(name)
    return ", ".join(living)


async def start_too_early(ground: Ground, planned: Planned) -> str:
    """The service starts while neither its database nor the broker is there."""
    async with ground.databases[planned.target].trouble("away"), ground.broker.trouble("away"):
        names = _killed(ground, *replicas(planned.target))
        await asyncio.sleep(planned.lasts_s)
    return names


async def kill_database(ground: Ground, planned: Planned) -> str:  # noqa: ARG001 - an injection
    """The server and every process of it, as a power cut would."""
    try:
        children = psutil.Process(ground.stack.pid("postgres")).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    _killed(ground, "postgres")
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    return f"{len(children) + 1} processes"


async def kill_broker(ground: Ground, planned: Planned) -> str:  # noqa: ARG001 - an injection
    return _killed(ground, "kafka")


async def pause_broker(ground: Ground, planned: Planned) -> str:
    await paused(ground.stack.process("kafka"), planned.lasts_s)
    return "kafka"


FAULTS: Final[Mapping[str, Injection]] = {
    "kill one process": kill_one,
    "pause one process": pause_one,
    "rolling restart": rolling_restart,
    "kill all of a service": kill_service,
    "kill every service": kill_all,
    "start before what is needed": start_too_early,
    "kill the database": kill_database,
    "kill the broker": kill_broker,
    "pause the broker": pause_broker,
}
