"""Running both faces on their ports: in a process of its own, or beside a test in its event loop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.fakes.esewa.client import Simulator
from tests.fakes.esewa.control import control_app
from tests.fakes.esewa.gateway import EsewaFace
from tests.fakes.esewa.journal import Journal, NoJournal
from tests.fakes.esewa.signing import PUBLIC_TEST_KEY
from tests.fakes.esewa.world import Profile, World

BACKLOG = 2048
GRACE_S = 1.0
# Longer than any client keeps an idle connection, so it is never the server that closes one in use.
KEEP_ALIVE_S = 120


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen and whose payments to take; port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    state: Path | None = None
    product_code: str = "EPAYTEST"
    key: str = PUBLIC_TEST_KEY
    profile: Profile | None = None


class Face:
    """An application on a listening socket, by uvicorn's protocol without its `Server`.

    That one ends by raising the signal that stopped it, polls ten times a second whether to end,
    and cannot stop listening for a while.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._config = _config(app)
        self._config.load()
        self._state = ServerState()
        self._listener: asyncio.Server | None = None

    async def listen(self, on: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, sock=on, backlog=BACKLOG)

    def _connection(self) -> HttpToolsProtocol:
        return HttpToolsProtocol(config=self._config, server_state=self._state, app_state={})

    def stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def drop_connections(self) -> None:
        for connection in list(self._state.connections):
            connection.transport.abort()

    async def close(self) -> None:
        """Answers what is being answered, then ends; what takes longer than the grace is cut off."""
        self.stop_listening()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=GRACE_S)
        # Whoever still hangs hears the line go dead and ends by himself.
        self.drop_connections()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=GRACE_S)


class ListeningGate:
    """Shuts and reopens the gateway's port, which stays bound meanwhile so nobody else takes it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.face: Face | None = None
        self._address = address
        self._held: socket.socket | None = None
        self._reopening: asyncio.Task[None] | None = None

    async def shut(self, seconds: float | None) -> None:
        assert self.face is not None
        self._forget_reopening()
        if self._held is None:
            self.face.stop_listening()
            self._held = bound(*self._address)
            self.face.drop_connections()
        if seconds is not None:
            self._reopening = asyncio.create_task(self._reopen_after(seconds))

    async def reopen(self) -> None:
        assert self.face is not None
        self._forget_reopening()
        if self._held is not None:
            held, self._held = self._held, None
            await self.face.listen(held)

    async def _reopen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._reopening = None
        await self.reopen()

    def _forget_reopening(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None

    def close(self) -> None:
        self._forget_reopening()
        if self._held is not None:
            self._held.close()


def bound(host: str, port: int) -> socket.socket:
    """A socket that owns the port without listening yet: connections are refused."""
    # Naming TCP matters: asyncio turns Nagle's algorithm off only then, and with it every answer takes 40 ms.
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return held


@dataclass(frozen=True, slots=True)
class Running:
    base_url: str
    control_url: str


@contextlib.asynccontextmanager
async def served(options: Options) -> AsyncIterator[Running]:
    """Both faces, answering; on leaving they are drained and the state file is released."""
    async with contextlib.AsyncExitStack() as cleanup:
        journal = Journal(options.state) if options.state else NoJournal()
        cleanup.callback(journal.close)
        gateway_socket = cleanup.enter_context(bound(options.host, options.port))
        control_socket = cleanup.enter_context(bound(options.host, options.control_port))
        gate = ListeningGate(gateway_socket.getsockname())
        esewa = EsewaFace(_world(options, journal))
        gate.face = gateway = Face(esewa)
        control = Face(control_app(esewa, gate))
        for face, listening in ((gateway, gateway_socket), (control, control_socket)):
            await face.listen(listening)
            cleanup.push_async_callback(face.close)
        cleanup.callback(gate.close)
        yield Running(_url(gateway_socket), _url(control_socket))


def _world(options: Options, journal: Journal) -> World:
    world = World(journal, product_code=options.product_code, key=options.key)
    if options.profile is not None:
        world.configure(options.profile)
    return world


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="error",
        timeout_keep_alive=KEEP_ALIVE_S,
    )


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()
    return f"http://{host}:{port}"


async def serve_until_told(options: Options) -> None:
    """Serves until SIGTERM or SIGINT, then returns: an orderly stop is no failure."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with served(options) as running:
        print(f"eSewa simulator: gateway {running.base_url} control {running.control_url}", flush=True)  # noqa: T201
        await told.wait()


@contextlib.asynccontextmanager
async def running_simulator(
    *,
    state: Path | None = None,
    product_code: str = "EPAYTEST",
    key: str = PUBLIC_TEST_KEY,
    profile: Profile | None = None,
    port: int = 0,
    control_port: int = 0,
) -> AsyncIterator[Simulator]:
    """A simulator in this event loop on free ports; without `state` its world ends with the block."""
    options = Options(
        state=state, product_code=product_code, key=key, profile=profile, port=port, control_port=control_port
    )
    async with served(options) as running, Simulator(running.base_url, running.control_url) as simulator:
        yield simulator
