"""What operators and supervisors ask a process: is it alive, is it ready, what does it count."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.chassis import outbox_backlog
from services.chassis.db import Database
from services.chassis.errors import is_transient
from services.chassis.migrate import ForeignSchemaError, check_schema

router = APIRouter(include_in_schema=False)
PROBE_S = 1.0
MEASURE_EVERY_S = 5.0


@dataclass(slots=True)
class Health:
    """What readiness is made of; each part says itself."""

    schema_known: asyncio.Event = field(default_factory=asyncio.Event)
    consuming: Callable[[], bool] = field(default=lambda: True)


async def watch_database(
    db: Database, service: str, health: Health, refuse: Callable[[ForeignSchemaError], None]
) -> None:
    """Once the database answers, make sure its schema is ours; raises to be tried again while it is away."""
    try:
        async with db.transaction() as tx:
            await check_schema(tx.connection, service)
    except ForeignSchemaError as error:
        refuse(error)
        return
    health.schema_known.set()


async def watch_outbox(db: Database, stopping: asyncio.Event) -> None:
    """Keep the gauges of the outbox true in every process, so that a dead relay is seen by the others."""
    while not stopping.is_set():
        async with db.transaction() as tx:
            await outbox_backlog.measure(tx)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), MEASURE_EVERY_S)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Whether work can be done here: each part and its state; 503 while one is missing."""
    state = request.app.state
    parts: dict[str, bool] = {}
    if state.db is not None:
        parts["database"] = await _answers(state.db)
        parts["schema"] = state.health.schema_known.is_set()
        parts["consumer"] = state.health.consuming()
    ready = all(parts.values())
    return JSONResponse({"ready": ready, "parts": parts}, status_code=200 if ready else 503)


async def _answers(db: Database) -> bool:
    try:
        async with asyncio.timeout(PROBE_S), db.transaction() as tx:
            await tx.now()
    except Exception as error:
        if is_transient(error):
            return False
        raise
    return True


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
