"""A small application behind the HTTP front of every service: one route for each thing that can go wrong."""

import asyncio
from typing import Annotated, Any

import asyncpg
import httpx2
from fastapi import APIRouter, Depends
from pydantic import Field

from contracts.http import Ask, Id, Instant, PathSku
from contracts.problems import CATALOGUE
from services.chassis.auth import Principal, require
from services.chassis.errors import Problem
from services.chassis.http import IdempotencyKey, IfMatch, check_version

THING = "0190a5d4-7c1e-7000-8000-000000000000"
JSON = {"content-type": "application/json"}
router = APIRouter()


class Line(Ask):
    sku: str
    quantity: Annotated[int, Field(ge=1, le=50)]


class Wanted(Ask):
    """A body with one of everything."""

    quantity: Annotated[int, Field(ge=1, le=50)] = 1
    id: Id | None = None
    at: Instant | None = None
    note: str = ""
    lines: list[Line] = Field(default_factory=list)


@router.put("/things/{thing}")
async def put_thing(thing: Id, body: Wanted) -> dict[str, Any]:
    return {"thing": str(thing), "body": body.model_dump(mode="json")}


@router.get("/things/{thing}")
async def get_thing(thing: Id, limit: Annotated[int, Field(ge=1, le=50)] = 20) -> dict[str, Any]:
    return {"thing": str(thing), "limit": limit}


@router.get("/skus/{sku}")
async def get_sku(sku: PathSku) -> dict[str, str]:
    return {"sku": sku}


@router.post("/keyed")
async def keyed(key: IdempotencyKey) -> dict[str, str]:
    return {"key": key}


@router.post("/versioned")
async def versioned(version: IfMatch) -> dict[str, int]:
    check_version(version, 7)
    return {"version": version}


@router.get("/mine")
async def mine(caller: Annotated[Principal, Depends(require("admin", "support"))]) -> dict[str, str]:
    return {"subject": str(caller.subject)}


FAILURES: dict[str, Exception] = {
    "bug": RuntimeError("the secret is 42"),
    "lock": asyncpg.LockNotAvailableError("busy"),
    "deadlock": asyncpg.DeadlockDetectedError("x"),
    "canceled": asyncpg.QueryCanceledError("statement timeout"),
    "pool": TimeoutError(),
    "lost": asyncpg.ConnectionDoesNotExistError("gone"),
    "closed": asyncpg.InterfaceError("connection is closed"),
    "refused": ConnectionRefusedError(),
    "domain": Problem(409, "INVALID_TRANSITION", "Not from here."),
}


@router.get("/fails/{how}")
async def fails(how: str) -> None:
    raise FAILURES[how]


@router.get("/hangs")
async def hangs() -> None:
    await asyncio.Event().wait()


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, checked for what every one has."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    said: dict[str, Any] = answer.json()
    assert said["code"] == code
    assert said["status"] == status
    assert code in CATALOGUE
    assert said["type"] == "/problems/" + code.lower().replace("_", "-")
    assert said["instance"].startswith("/")
    assert len(said["trace_id"]) == 32
    assert int(said["trace_id"], 16) > 0
    assert said["title"]
    assert said["detail"]
    return said
