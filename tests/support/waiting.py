"""Waiting for a condition, with a bound; never for time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(found: Callable[[], Awaitable[T]], *, within_s: float = 30.0, what: str = "") -> T:
    """The first truthy answer; fails with the last one when the bound has passed."""
    last: T | None = None
    try:
        async with asyncio.timeout(within_s):
            while not (last := await found()):  # noqa: ASYNC110 - what is awaited lives in other processes
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"not within {within_s} s: {what or found}; last answer {last!r}") from error
    return last
