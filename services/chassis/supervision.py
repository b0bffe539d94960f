"""Supervision inside a process: a task that falls over is started again, with back-off."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

LOG = structlog.get_logger("supervision")
RESTARTED = Counter(
    "kb_task_restarts_total", "Background tasks that fell over and were started again.", ["task"]
)
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


async def keep_alive(name: str, task: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
    """Run the task until it returns; when it raises, say so and run it again after 0.2 to 5 s."""
    pause = FIRST_PAUSE_S
    while not stopping.is_set():
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - whatever it was, the process must not lose its background work
            RESTARTED.labels(name).inc()
            LOG.warning("restarting", task=name, error=repr(error)[:500], pause_s=pause)
        else:
            return
        try:
            await asyncio.wait_for(stopping.wait(), pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        except TimeoutError:
            pause = min(LONGEST_PAUSE_S, pause * 2)
