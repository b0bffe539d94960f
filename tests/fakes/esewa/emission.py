"""Browser returns sent again by the simulator itself: many, late, at once, or forged."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
from pydantic import BaseModel, ConfigDict, Field

from tests.fakes.esewa.faults import LONGEST_S, ReturnShape

RETURN_TIMEOUT_S = 30.0


class Emission(BaseModel):
    """How often a return is sent, when, and in what shape; `deliver` False only makes the URL."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    shape: ReturnShape = Field(default_factory=ReturnShape)
    times: int = Field(default=1, ge=1, le=10_000)
    delay_s: float = Field(default=0.0, ge=0, le=LONGEST_S)
    at_once: int = Field(default=1, ge=1, le=100)
    deliver: bool = True


async def emit(url: str, emission: Emission) -> dict[str, Any]:
    """The URL, and how many deliveries ended in which HTTP status ("failed": none came back)."""
    if not emission.deliver:
        return {"url": url, "answers": {}}
    await asyncio.sleep(emission.delay_s)
    turns = asyncio.Semaphore(emission.at_once)
    async with httpx2.AsyncClient(timeout=RETURN_TIMEOUT_S, trust_env=False) as browser:
        sent = [_send(browser, turns, url) for _ in range(emission.times)]
        return {"url": url, "answers": Counter(await asyncio.gather(*sent))}


async def _send(browser: httpx2.AsyncClient, turns: asyncio.Semaphore, url: str) -> str:
    async with turns:
        try:
            return str((await browser.get(url, follow_redirects=False)).status_code)
        except httpx2.HTTPError:
            return "failed"
