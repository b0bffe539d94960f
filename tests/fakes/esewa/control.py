"""The control face under `/_sim`: order faults, turn the clock, repeat returns, read the truth."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal, Protocol

import orjson
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tests.fakes.esewa.emission import Emission, emit
from tests.fakes.esewa.faults import Rule, Standing
from tests.fakes.esewa.gateway import EsewaFace
from tests.fakes.esewa.world import MONEY_MOVED, Profile, Session, Status, iso, truth_rows

ROWS_PER_CHUNK = 500
NDJSON = "application/x-ndjson"


class Gate(Protocol):
    """The listening socket of the gateway face, which can be shut to refuse connections."""

    async def shut(self, seconds: float | None) -> None: ...

    async def reopen(self) -> None: ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Advance(_Body):
    advance_s: float = Field(ge=0, le=10 * 365 * 86_400)


class Movement(_Body):
    """What the gateway's people did; `refunded_paisa` is only asked for a partial refund."""

    status: Literal["REVERSED", "REFUNDED", "PARTIALLY_REFUNDED"]
    refunded_paisa: int | None = Field(default=None, gt=0)


class Outage(_Body):
    seconds: float | None = Field(default=None, gt=0, le=600)


class NewWorld(_Body):
    profile: Profile | None = None


def control_app(face: EsewaFace, gate: Gate) -> FastAPI:
    app = FastAPI(title="eSewa simulator", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    _fault_routes(app, face)
    _clock_and_profile_routes(app, face)
    _money_routes(app, face)
    _log_route(app, face)
    _outage_routes(app, gate)
    return app


def _fault_routes(app: FastAPI, face: EsewaFace) -> None:
    @app.post("/_sim/faults")
    async def add_fault(rule: Rule) -> dict[str, int]:
        return {"id": face.faults.add(rule).id}

    @app.get("/_sim/faults")
    async def list_faults() -> dict[str, list[dict[str, Any]]]:
        return {"faults": [_standing(one) for one in face.faults.standing]}

    @app.delete("/_sim/faults")
    async def clear_faults() -> dict[str, int]:
        cleared = len(face.faults.standing)
        face.faults.clear()
        return {"cleared": cleared}

    @app.delete("/_sim/faults/{number}")
    async def withdraw_fault(number: int) -> dict[str, Any]:
        withdrawn = face.faults.withdraw(number)
        if withdrawn is None:
            raise HTTPException(404, f"no fault {number} is in force")
        return _standing(withdrawn)


def _standing(one: Standing) -> dict[str, Any]:
    return {"id": one.id, "matched": one.matched, "fired": one.fired, **one.rule.model_dump()}


def _clock_and_profile_routes(app: FastAPI, face: EsewaFace) -> None:
    world = face.world

    @app.get("/_sim/clock")
    async def read_clock() -> dict[str, str | None]:
        return {"now": iso(world.now())}

    @app.post("/_sim/clock")
    async def advance_clock(advance: Advance) -> dict[str, str | None]:
        world.advance(advance.advance_s)
        return {"now": iso(world.now())}

    @app.get("/_sim/profile")
    async def read_profile() -> Profile:
        return world.profile

    @app.post("/_sim/profile")
    async def change_profile(change: Profile) -> Profile:
        """Switches that are not named keep their position."""
        world.configure(world.profile.model_copy(update=change.model_dump(exclude_unset=True)))
        return world.profile

    @app.post("/_sim/reset")
    async def reset(new: NewWorld) -> Profile:
        world.start_over(new.profile or Profile())
        face.faults.clear()
        face.log.clear()
        return world.profile


def _money_routes(app: FastAPI, face: EsewaFace) -> None:
    @app.get("/_sim/truth")
    async def truth(request: Request, reference: str | None = None) -> StreamingResponse:
        settled = [one for one in face.world.settled if reference in (None, one.form.reference)]
        if request.headers.get("accept") == NDJSON:
            return StreamingResponse(_lines(settled), media_type=NDJSON)
        return StreamingResponse(_document(settled), media_type="application/json")

    @app.post("/_sim/payments/{reference}")
    async def move(reference: str, movement: Movement) -> dict[str, Any]:
        session = _session(face, reference)
        if session.status not in MONEY_MOVED:
            raise HTTPException(409, f"{reference} is {session.status}: no money to move")
        face.world.move(session, Status(movement.status), refunded_paisa=_refunded_paisa(session, movement))
        return truth_rows([session])[0]

    @app.post("/_sim/returns/{reference}")
    async def send_returns(reference: str, emission: Emission) -> dict[str, Any]:
        return await emit(face.return_url(_session(face, reference), emission.shape), emission)


def _session(face: EsewaFace, reference: str) -> Session:
    session = face.world.by_reference.get(reference)
    if session is None:
        raise HTTPException(404, f"no payment form was accepted for {reference}")
    return session


def _refunded_paisa(session: Session, movement: Movement) -> int:
    if movement.status != "PARTIALLY_REFUNDED":
        return session.form.amount_paisa
    if movement.refunded_paisa is None or movement.refunded_paisa >= session.form.amount_paisa:
        wrong = {"loc": ["body", "refunded_paisa"], "msg": "must be less than the payment and given"}
        raise HTTPException(422, [wrong])
    return movement.refunded_paisa


def _lines(settled: list[Session]) -> Iterator[bytes]:
    rows = iter(settled)
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in truth_rows(chunk))


def _document(settled: list[Session]) -> Iterator[bytes]:
    rows, lead = iter(settled), b'{"payments":['
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        yield lead + orjson.dumps(truth_rows(chunk))[1:-1]
        lead = b","
    yield b"]}" if lead == b"," else lead + b"]}"


def _log_route(app: FastAPI, face: EsewaFace) -> None:
    @app.get("/_sim/log")
    async def log(
        after: Annotated[int, Query(ge=0)] = 0,
        operation: str | None = None,
        reference: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 100_000,
    ) -> StreamingResponse:
        entries = face.log.entries(after=after, operation=operation, reference=reference)
        rows = [entry._asdict() for entry in islice(entries, limit)]
        return StreamingResponse(iter([orjson.dumps({"requests": rows})]), media_type="application/json")


def _outage_routes(app: FastAPI, gate: Gate) -> None:
    @app.post("/_sim/outage")
    async def refuse_connections(outage: Outage) -> dict[str, bool]:
        await gate.shut(outage.seconds)
        return {"accepting": False}

    @app.delete("/_sim/outage")
    async def accept_connections() -> dict[str, bool]:
        await gate.reopen()
        return {"accepting": True}
