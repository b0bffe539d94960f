"""What the running system holds in memory when nothing happens.

A process is judged with all it maps, the sum with shared pages counted once.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from bench import machine
from bench.results import Gate, Report
from infra import stack
from infra.parts import SERVICES
from infra.supervisor import State

IDLE_S: Final = 5.0
PROCESS_MIB: Final = 120
STACK_MIB: Final = 1536
STRANGERS: Final = frozenset({"esewa"})
"""Stand in for a third party, which is no part of the system."""


async def measure() -> Report:
    """The whole system as `make dev` starts it: each process and their sum, shared pages split among them."""
    report = Report("memory", "Idle memory, MiB", ("process", "resident", "shared pages split"))
    folder = Path(tempfile.mkdtemp(prefix="kb-bench-"))
    folder.chmod(0o711)  # PostgreSQL may run as another user and must reach its own folder
    try:
        async with stack.Stack(folder, report=_quiet) as running:
            await asyncio.sleep(IDLE_S)  # what they do after they are ready, they have done by then
            pids = {name: running.pid(name) for name in running.names if name not in STRANGERS}
            alone = {name: machine.resident_alone_mib(pid) for name, pid in pids.items()}
            split = {name: machine.resident_mib(pid) for name, pid in pids.items()}
    finally:
        stack.erase(folder)
    services = {name: mib for name, mib in alone.items() if name.rpartition("-")[0] in SERVICES}
    for name, mib in split.items():
        report.add(
            name, services.get(name, ""), mib, process=name, resident=services.get(name), proportional=mib
        )
    total = sum(split.values())
    report.add("all of it", "", total, process="all", proportional=total)
    report.gates += [
        Gate("largest service process, MiB", max(services.values()), "at most", PROCESS_MIB),
        Gate("the whole stack, MiB", total, "at most", STACK_MIB),
    ]
    return report


def _quiet(_name: str, _state: State, _detail: str) -> None:
    """Nobody watches it start."""
