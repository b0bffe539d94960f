"""What operators and supervisors ask a process: is it alive, is it ready, what does it count."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.chassis import outbox_backlog
from services.chassis.back_pressure import Pressure
from services.chassis.db import Database
from services.chassis.errors import is_transient
from services.chassis.migrate import ForeignSchemaError, check_schema

router = APIRouter(include_in_schema=False)
PROBE_S = 1.0
MEASURE_EVERY_S = 1.0
MEASURE_SHARE = 20
"""A measurement is rested from for so many times as long as it took: a backlog is not to cost a core."""
LOOK_S = 5.0
SAY_EVERY_S = 60.0
LOG = structlog.get_logger("ops")

WORDS = {
    "database": "the database",
    "schema": "the tables of this release",
    "consumer": "a share of the topics",
    "staying": "nothing: it is stopping",
}
"""What each part of readiness is, for people."""


@dataclass(slots=True)
class Health:
    """What readiness is made of; each part says itself."""

    schema_known: asyncio.Event = field(default_factory=asyncio.Event)
    consuming: Callable[[], bool] = field(default=lambda: True)
    stopping: Callable[[], bool] = field(default=lambda: False)

    async def parts(self, db: Database | None) -> dict[str, bool]:
        """What this process needs to work, by name, and whether it is there; each question is bounded."""
        parts: dict[str, bool] = {}
        if db is not None:
            parts["database"] = await _answers(db)
            parts["schema"] = self.schema_known.is_set()
            parts["consumer"] = self.consuming()
        if self.stopping():
            parts["staying"] = False
        return parts

    async def missing(self, db: Database | None) -> list[str]:
        """What is waited for, in words."""
        return [WORDS[name] for name, is_there in (await self.parts(db)).items() if not is_there]


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


async def watch_outbox(db: Database, pressure: Pressure, stopping: asyncio.Event) -> None:
    """Keep the gauges of the outbox true in every process, so that a dead relay is seen by the others."""
    while not stopping.is_set():
        begun = time.monotonic()
        try:
            async with db.transaction() as tx:
                pressure.note(await outbox_backlog.measure(tx, pressure.most_rows + 1))
        except asyncpg.QueryCanceledError:
            LOG.warning("the outbox takes too long to measure", after_s=time.monotonic() - begun)
            pressure.keep()
        rest_s = max(MEASURE_EVERY_S, MEASURE_SHARE * (time.monotonic() - begun))
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), rest_s)


async def say_what_is_missing(health: Health, db: Database, stopping: asyncio.Event) -> None:
    """One line when something needed is not there, one a minute while it stays away, one at its end."""
    said: list[str] = []
    said_at = 0.0
    while not stopping.is_set():
        missing = await health.missing(db)
        now = time.monotonic()
        if missing and (missing != said or now - said_at >= SAY_EVERY_S):
            LOG.warning("waiting", waiting_for=missing)
            said_at = now
        elif said and not missing:
            LOG.info("everything is there")
        said = missing
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOOK_S)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Whether work can be done here: each part, and what is waited for; 503 while one is missing."""
    state = request.app.state
    parts = await state.health.parts(state.db)
    waiting_for = [WORDS[name] for name, is_there in parts.items() if not is_there]
    body = {"ready": not waiting_for, "parts": parts, "waiting_for": waiting_for}
    return JSONResponse(body, status_code=503 if waiting_for else 200)


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
