"""What an operator may do about parked records: retry, replay, edit, skip; never without who and why."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg

from contracts.event import Event
from contracts.http.operations import MOST_REPLAYED, EditParked, MoveParked, ReplayParked
from contracts.topics import BY_NAME
from services.chassis import operator_log, parked_inbox, parked_outbox
from services.chassis.consumer import Subscription
from services.chassis.db import Database, Tx
from services.chassis.errors import FieldError, Problem
from services.chassis.operator_log import Action
from services.chassis.parked_edit import edited_bytes
from services.chassis.parked_filter import Filter

LOCK_MS: Final = 1000
"""Longer than a batch takes; what is at work on a record then is a retry that hangs, or another operator."""
MOST_ERRORS: Final = 20


class Side(Protocol):
    """The records of one side, `in` or `out`: `parked_inbox` and `parked_outbox`."""

    @property
    def OPEN(self) -> tuple[str, ...]:  # noqa: N802 - a module's constant
        """The states that something may still be done about."""

    @property
    def STATES(self) -> tuple[str, ...]:  # noqa: N802
        """All states."""

    async def listed(self, tx: Tx, wanted: Filter, after: int, limit: int) -> list[asyncpg.Record]: ...
    async def ids_of(self, tx: Tx, wanted: Filter, limit: int) -> list[int]: ...
    async def named(self, tx: Tx, ids: Sequence[int]) -> list[asyncpg.Record]: ...
    async def show(self, tx: Tx, parked: int) -> asyncpg.Record | None: ...
    async def groups(self, tx: Tx, limit: int) -> list[asyncpg.Record]: ...
    async def lock(self, tx: Tx, ids: Sequence[int]) -> list[asyncpg.Record]: ...
    async def retry(self, tx: Tx, ids: Sequence[int]) -> None: ...
    async def schedule(self, tx: Tx, ids: Sequence[int], per_second: int, replay: UUID | None) -> None: ...
    async def skip(self, tx: Tx, ids: Sequence[int], reason: str, by: UUID) -> None: ...
    async def edit(self, tx: Tx, parked: int, payload: bytes) -> None: ...
    async def progress(self, tx: Tx, replay: UUID) -> asyncpg.Record | None: ...


SIDES: Final[Mapping[str, Side]] = {"in": parked_inbox, "out": parked_outbox}


@dataclass(frozen=True, slots=True)
class Desk:
    """Where an operator works: one service, its database, what it hears, and whether bodies may be edited."""

    db: Database
    service: str
    subscriptions: Mapping[int, Subscription[Any]] = field(default_factory=dict)
    edits: bool = False

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Tx]:
        """A transaction that waits for nobody long; raises 409 `RECORD_IN_FLIGHT`."""
        try:
            async with self.db.transaction(lock_timeout_ms=LOCK_MS) as tx:
                yield tx
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            detail = "A retry, a batch or another operator is at work on it; nothing was changed."
            raise Problem(409, "RECORD_IN_FLIGHT", detail) from None

    def name_of(self, side: str, number: int) -> str:
        """The record's name, as operators say it."""
        return f"{self.service}.{side}.{number}"

    def place_of(self, name: str) -> tuple[str, int]:
        """The side and the number a record's name stands for; raises 404 for one of another service."""
        service, side, number = name.split(".")
        if service != self.service:
            raise Problem(404, "NOT_FOUND", f"{name} is a record of {service}, and this is {self.service}.")
        return side, int(number)

    def by_side(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The numbers of these records, each once, by side."""
        places: dict[str, list[int]] = {}
        for side, number in dict.fromkeys(self.place_of(name) for name in names):
            places.setdefault(side, []).append(number)
        return places


async def retry(desk: Desk, actor: UUID, asked: MoveParked) -> dict[str, list[asyncpg.Record]]:
    """Let these be tried now, and what waits in their keys after them; dead ones wait in their keys again."""
    moved = {}
    async with desk.at_work() as tx:
        for side, ids in desk.by_side(asked.records).items():
            await locked(tx, desk, side, ids)
            await SIDES[side].retry(tx, ids)
            await _note(tx, desk, side, ids, Action(actor, "parked.retry", "", asked.reason))
            moved[side] = await SIDES[side].named(tx, ids)
    return moved


async def skip(desk: Desk, actor: UUID, asked: MoveParked) -> dict[str, list[asyncpg.Record]]:
    """Let these never take effect, or never be sent; their keys go on."""
    moved = {}
    async with desk.at_work() as tx:
        for side, ids in desk.by_side(asked.records).items():
            await locked(tx, desk, side, ids)
            await SIDES[side].skip(tx, ids, asked.reason, actor)
            await _note(tx, desk, side, ids, Action(actor, "parked.skip", "", asked.reason))
            moved[side] = await SIDES[side].named(tx, ids)
    return moved


async def replay(desk: Desk, actor: UUID, asked: ReplayParked) -> UUID:
    """Let everything open that fits be tried, so many a second; the id tells its progress."""
    side = SIDES[asked.side]
    wanted = Filter(side.OPEN, asked.topic, asked.failure, asked.key, asked.since, asked.until)
    if wanted.is_everything:
        errors = [FieldError("", "SELECTION_MISSING", "Name a topic, failure, key or time.")]
        raise Problem(422, "VALIDATION_FAILED", "A replay of everything is no selection.", errors=errors)
    async with desk.at_work() as tx:
        ids = await side.ids_of(tx, wanted, MOST_REPLAYED + 1)
        if len(ids) > MOST_REPLAYED:
            detail = f"More than {MOST_REPLAYED} records fit; narrow it by topic, failure, key or time."
            raise Problem(422, "REPLAY_TOO_LARGE", detail)
        said = asked.model_dump(mode="json", exclude_none=True, exclude={"reason"})
        action = Action(actor, "parked.replay", "selection", asked.reason, said | {"asked": len(ids)})
        made = await operator_log.record(tx, action)
        await side.schedule(tx, ids, asked.per_second, made)
    return made


async def edit(desk: Desk, actor: UUID, name: str, asked: EditParked) -> asyncpg.Record:
    """Put another body into the record's place; it waits as before until it is retried."""
    if not desk.edits:
        raise Problem(403, "EDITING_OFF", "The service runs without KB_PARKED_EDITS.")
    where, number = desk.place_of(name)
    async with desk.at_work() as tx:
        (row,) = await locked(tx, desk, where, [number])
        payload = edited_bytes(asked.payload, _event_of(desk, row), row["key"], row["payload"])
        await SIDES[where].edit(tx, number, payload)
        detail = {"bytes": len(payload), "fields": sorted(asked.payload)}
        await _note(tx, desk, where, [number], Action(actor, "parked.edit", "", asked.reason, detail))
        (now,) = await SIDES[where].named(tx, [number])
    return now


def _event_of(desk: Desk, row: asyncpg.Record) -> type[Event]:
    """The class a record is read as, here where it is heard or there where it is told."""
    heard = desk.subscriptions.get(row.get("consumer", 0))
    return heard.event if heard else BY_NAME[row["topic"]].event


async def locked(tx: Tx, desk: Desk, side: str, ids: Sequence[int]) -> list[asyncpg.Record]:
    """The records, held; raises 404 when one is not there, 409 `NOT_PARKED` when one is settled already."""
    rows = await SIDES[side].lock(tx, ids)
    if missing := [desk.name_of(side, one) for one in ids if one not in {row["id"] for row in rows}]:
        raise Problem(404, "NOT_FOUND", f"There is no record {', '.join(missing[:MOST_ERRORS])}.")
    if settled := [row for row in rows if row["state"] not in SIDES[side].OPEN]:
        errors = [_settled(desk.name_of(side, row["id"]), row) for row in settled[:MOST_ERRORS]]
        raise Problem(409, "NOT_PARKED", "; ".join(one.detail for one in errors[:3]), errors=errors)
    return rows


def _settled(name: str, row: asyncpg.Record) -> FieldError:
    came_to = f" ({row['outcome']})" if row["outcome"] else ""
    when = row["updated_at"].isoformat(timespec="seconds").replace("+00:00", "Z")
    return FieldError("/records", row["state"].upper(), f"{name} is {row['state']}{came_to} since {when}")


async def _note(tx: Tx, desk: Desk, side: str, ids: Sequence[int], said: Action) -> None:
    """One entry for each record, so that its story can be told."""
    names = [desk.name_of(side, one) for one in ids]
    actions = [Action(said.actor, said.action, name, said.reason, said.detail) for name in names]
    await operator_log.record_all(tx, actions)
