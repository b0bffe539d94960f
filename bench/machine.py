"""The machine: what it is, how busy it is, and what processes have cost it."""

import asyncio
import contextlib
import time
from pathlib import Path

import psutil

MEBIBYTE = 1 << 20


def cpu_model() -> str:
    """The processor's name as the kernel tells it, with the number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{psutil.cpu_count()} x {names[0] if names else 'unknown'}"


async def idle_fraction(seconds: float = 0.5) -> float:
    """The share of all cores that nobody used during these seconds."""
    before = psutil.cpu_times()
    await asyncio.sleep(seconds)
    after = psutil.cpu_times()
    idle = (after.idle + after.iowait) - (before.idle + before.iowait)
    return float(idle / max(1e-9, sum(after) - sum(before)))


async def wait_until_quiet(at_least: float = 0.85, within_s: float = 6.0) -> float:
    """The idle fraction once it is high enough, or the last one seen when it never was."""
    idle = 0.0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while (idle := await idle_fraction()) < at_least:
                pass
    return idle


def pace() -> float:
    """CPU microseconds of a fixed piece of work: how fast a core is while others share its caches."""
    return min(_fixed_work() for _ in range(5)) * 1e6


def _fixed_work() -> float:
    began = time.thread_time()
    sum(number * number for number in range(20_000))
    return time.thread_time() - began


def cpu_seconds(*roots: int) -> float:
    """CPU time used so far by these processes and all they started, ended children included."""
    return sum(_cpu_of(process) for root in roots for process in _tree(root))


def resident_mib(*roots: int) -> float:
    """Memory of these process trees in MiB; pages shared between processes are split among them."""
    return sum(_memory_of(process) for root in roots for process in _tree(root)) / MEBIBYTE


def resident_alone_mib(pid: int) -> float:
    """Memory of one process in MiB, pages shared with others counted in full."""
    return float(psutil.Process(pid).memory_info().rss) / MEBIBYTE


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _memory_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def own_cpu_seconds() -> float:
    """CPU time this process has used itself."""
    return time.process_time()
