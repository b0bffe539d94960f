"""What the running system holds in memory when nothing happens.

A process is judged with all it maps, the sum with shared pages counted once.
"""

import asyncio
from typing import Final

from bench import machine
from bench.ground import Ground
from bench.ours.contender import Services
from bench.results import Gate, Report

IDLE_S: Final = 5.0
PROCESS_MIB: Final = 120
STACK_MIB: Final = 1536


async def measure(ground: Ground) -> Report:
    """Each service's process, the servers, and their sum; pages that several share are split among them."""
    report = Report("memory", "Idle memory, MiB", ("process", "resident", "shared pages split"))
    services = Services(ground)
    await services.prepare(0)
    await services.start()
    try:
        await asyncio.sleep(IDLE_S)  # what they do after they are ready, they have done by then
        pids = services.processes()
        alone = {name: machine.resident_alone_mib(pid) for name, pid in pids.items()}
        servers = {"postgres": ground.postgres_pid} | (
            {"kafka": ground.broker_pid} if ground.broker_pid else {}
        )
        shared = {name: machine.resident_mib(pid) for name, pid in (pids | servers).items()}
    finally:
        await services.finish()
    for name, mib in shared.items():
        report.add(name, alone.get(name, ""), mib, process=name, resident=alone.get(name), proportional=mib)
    total = sum(shared.values())
    report.add("all of it", "", total, process="all", proportional=total)
    report.gates += [
        Gate("largest service process, MiB", max(alone.values()), "at most", PROCESS_MIB),
        Gate("the whole stack, MiB", total, "at most", STACK_MIB),
    ]
    return report
