"""Faults of the world outside: the payment gateway misbehaves or is gone, clients vanish in mid-sentence."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from infra.people import TokenMaker
from tests.chaos.ground import Ground, Injection, a_little_longer, chance_of, hit
from tests.chaos.schedule import Planned
from tests.fakes.esewa import faults as esewa

STATUS_FAULTS: Final[tuple[esewa.Fault, ...]] = (
    esewa.Delay(seconds=2.0, up_to_seconds=12.0),
    esewa.Hang(),
    esewa.Drip(pause_s=0.2),
    esewa.Reset(),
    esewa.Redirect(),
    esewa.Http(status=500),
    esewa.Http(status=503, retry_after_s=2),
    esewa.Http(status=429),
    esewa.Http(status=200, body="truncated"),
    esewa.Oversized(size_bytes=200_000),
    esewa.ErrorBody(),
    esewa.MissingRefId(),
    esewa.Lag(showing="NOT_FOUND", polls=2),
    esewa.Lag(showing="PENDING", polls=2),
)
PROBABILITY: Final = 0.8
NOT_BACK: Final = 0.3
ASKED: Final = "select coalesce(sum(checks), 0) from attempts"
HALF_SENT: Final = 20
IDLE: Final = 30
NEVER_READ: Final = 4
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


async def misbehave(ground: Ground, planned: Planned) -> str:
    """One answer in five stays honest; some browsers do not come back."""
    chance, fired = chance_of(planned), 0
    fault = chance.choice(STATUS_FAULTS)
    rules: list[tuple[esewa.Fault, esewa.Operation, float]] = [
        (fault, "status", PROBABILITY),
        (esewa.NoReturn(), "return", NOT_BACK),
    ]
    ordered: list[int] = []
    try:
        for rule, op, probability in rules:
            seed = chance.getrandbits(16)
            ordered.append(
                await ground.esewa.faults(rule, op=op, times=None, probability=probability, seed=seed)
            )
        await asyncio.sleep(planned.lasts_s)
        await a_little_longer(partial(_has_fired, ground, frozenset(ordered)))
    finally:
        for number in ordered:  # each its own: another fault's rules stay
            fired += await ground.esewa.withdraw_fault(number)
    return f"{fault.kind}, {hit(fired)} times"


async def _has_fired(ground: Ground, rules: frozenset[int]) -> bool:
    return any(one["fired"] for one in await ground.esewa.standing_faults() if one["id"] in rules)


async def gateway_down(ground: Ground, planned: Planned) -> str:
    """It counts when payments has asked meanwhile: it notes each try before it makes it."""
    before = await _asked(ground)

    async def suffered() -> bool:
        return await _asked(ground) > before

    async with ground.esewa.outage():
        await asyncio.sleep(planned.lasts_s)
        await a_little_longer(suffered)
        asked = await _asked(ground) - before
    return f"{hit(asked)} times asked in vain"


async def _asked(ground: Ground) -> int:
    async with ground.admin("payments") as connection:
        return int(await connection.fetchval(ASKED))


async def clients_vanish(ground: Ground, planned: Planned) -> str:
    """Half a request and a reset, connections that say nothing, answers that nobody reads."""
    async with contextlib.AsyncExitStack() as after:
        begun = sum(half_said(gate, ground.make_token, after) for gate in ground.gates)
        await asyncio.sleep(planned.lasts_s)
    return f"{hit(begun)} connections"


def half_said(gate: str, make_token: TokenMaker, after: contextlib.AsyncExitStack) -> int:
    """How many such clients came in; they vanish with `after`."""
    url, begun = urlsplit(gate), 0
    assert url.hostname is not None
    assert url.port is not None
    for number in range(HALF_SENT + IDLE + NEVER_READ):
        with contextlib.suppress(OSError):
            line = socket.create_connection((url.hostname, url.port), timeout=1.0)
            after.callback(_reset, line)
            line.sendall(_beginning(make_token, number))
            begun += 1
    return begun


def _beginning(make_token: TokenMaker, number: int) -> bytes:
    """What the client still says before it falls silent."""
    token = make_token(subject=uuid4(), roles=["customer"], vendor_id=None)
    head = f"Host: gate\r\nAuthorization: Bearer {token}\r\n"
    if number < HALF_SENT:
        body = f"POST /v1/checkouts HTTP/1.1\r\n{head}Idempotency-Key: {uuid4()}\r\n"
        return f'{body}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{"payment_m'.encode()
    if number < HALF_SENT + IDLE:
        return b""
    return f"GET /v1/checkouts/{uuid4()}/events HTTP/1.1\r\n{head}\r\n".encode()


def _reset(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    line.close()


FAULTS: Final[Mapping[str, Injection]] = {
    "gateway misbehaves": misbehave,
    "gateway down": gateway_down,
    "clients vanish": clients_vanish,
}
