"""Faults of the world outside: the payment gateway misbehaves or is gone, clients vanish in mid-sentence."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from tests.chaos.ground import Ground, Injection, chance_of
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
HALF_SENT: Final = 20
IDLE: Final = 30
NEVER_READ: Final = 4
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


async def misbehave(ground: Ground, planned: Planned) -> str:
    """One answer in five stays honest; some browsers do not come back."""
    chance = chance_of(planned)
    fault = chance.choice(STATUS_FAULTS)
    await ground.esewa.faults(
        fault, op="status", times=None, probability=PROBABILITY, seed=chance.getrandbits(16)
    )
    await ground.esewa.faults(
        esewa.NoReturn(), op="return", times=None, probability=0.3, seed=chance.getrandbits(16)
    )
    await asyncio.sleep(planned.lasts_s)
    await ground.esewa.clear_faults()
    return fault.kind


async def gateway_down(ground: Ground, planned: Planned) -> str:
    async with ground.esewa.outage():
        await asyncio.sleep(planned.lasts_s)
    return "connections refused"


async def clients_vanish(ground: Ground, planned: Planned) -> str:
    """Half a request and a reset, connections that say nothing, answers that nobody reads."""
    async with contextlib.AsyncExitStack() as after:
        for gate in ground.gates:
            url = urlsplit(gate)
            assert url.hostname is not None
            assert url.port is not None
            for number in range(HALF_SENT + IDLE + NEVER_READ):
                with contextlib.suppress(OSError):
                    line = socket.create_connection((url.hostname, url.port), timeout=1.0)
                    after.callback(_reset, line)
                    line.sendall(_beginning(ground, number))
        await asyncio.sleep(planned.lasts_s)
    return f"{len(ground.gates) * (HALF_SENT + IDLE + NEVER_READ)} connections"


def _beginning(ground: Ground, number: int) -> bytes:
    """What the client still says before it falls silent."""
    token = ground.make_token(subject=uuid4(), roles=["customer"], vendor_id=None)
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
