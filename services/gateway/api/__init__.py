"""Door 2, HTTP: everything frontends may ask for, under `/v1`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from services.chassis.supervision import keep_alive
from services.gateway.api import cart, checkouts, events, forwards, health, pages, returns


@asynccontextmanager
async def _open(app: FastAPI) -> AsyncIterator[None]:
    """The clients and the live reader live as long as the process answers."""
    stopping = asyncio.Event()
    await app.state.upstreams.open()
    reader = asyncio.create_task(keep_alive("live", app.state.live.run, stopping), name="live")
    try:
        yield
    finally:
        stopping.set()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await app.state.upstreams.close()


router = APIRouter(lifespan=_open)
for part in (cart, checkouts, events, forwards, health, pages, returns):
    router.include_router(part.router)
