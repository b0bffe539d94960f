"""The three doors as pieces of work: records of a topic, a request, a round of the clock."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx2

from contracts.event import Event
from services.chassis.app import Runtime, Service
from services.chassis.consumer import Consumer
from services.chassis.http import make_app
from services.chassis.listener import Listener, Place
from services.chassis.reconciler import Reconciler, run_once
from tests.support.crash.trying import Life
from tests.support.records import sent

HERE = Place(kafka="127.0.0.1:9", prefix="", instance="crash")


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as the Kafka client gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(slots=True)
class Hearing:
    """A partition of a topic: it is read on from the offset that was committed last, by the real listener."""

    consumer: Consumer
    events: Sequence[Event]
    committed: int = 0
    records: list[Raw] = field(init=False)

    def __post_init__(self) -> None:
        told = [sent(event, sequence=event.envelope.sequence or 1) for event in self.events]
        self.records = [
            Raw(one.topic, 0, offset, one.key, one.value, one.headers) for offset, one in enumerate(told)
        ]

    def afresh(self) -> None:
        self.committed = 0

    async def do(self, life: Life) -> None:
        unread = self.records[self.committed :]
        if not unread:
            return

        async def commit() -> None:
            self.committed = len(self.records)

        async def ack() -> None:
            await life.fate.take("(commit the offsets)", commit)

        listener = Listener(self.consumer, life.db, HERE)
        message: Any = SimpleNamespace(raw_message=unread, ack=ack)
        await listener._on_batch(message)  # noqa: SLF001 - what FastStream calls

    def ask_again(self) -> None:
        """The offsets are set back: everything comes once more."""
        self.committed = 0


@dataclass(slots=True)
class Healing:
    """One round of a duty, all topics read to their ends."""

    duty: Reconciler

    def afresh(self) -> None:
        """The clock needs no asking."""

    async def do(self, life: Life) -> None:
        async def caught_up(_: Sequence[str]) -> bool:
            return await life.fate.take("(ask how far the group has read)", _yes)

        await run_once(self.duty, life.db, caught_up)

    def ask_again(self) -> None:
        """It comes round anyway."""


async def _yes() -> bool:
    return True


@dataclass(slots=True)
class Asking:
    """A request whose sender repeats it, with the same key, until it is answered."""

    service: Service
    method: str
    path: str
    token: str = ""
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: Sequence[int] = (200, 201, 204)
    key: str = field(default_factory=lambda: uuid4().hex)
    enter: Callable[[Life], None] = lambda _: None
    """What else is this process's own."""

    def afresh(self) -> None:
        """The answer was not kept."""

    async def do(self, life: Life) -> None:
        self.enter(life)
        settings = self.service.settings
        state: dict[str, Any] = {"db": life.db, "settings": settings, "runtime": _runtime(life, settings)}
        app = make_app(self.service.name, routers=[self.service.router], state=state | self.service.state)
        headers = {"idempotency-key": self.key, **self.headers}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://crash", timeout=20) as client:
            answer = await client.request(self.method, self.path, json=self.body, headers=headers)
        if answer.status_code == 503:
            raise ConnectionError(answer.text)
        assert answer.status_code in self.answers, f"{answer.status_code} {answer.text}"

    def ask_again(self) -> None:
        """It did not get the answer."""


def _runtime(life: Life, settings: Any) -> Runtime:  # noqa: ANN401 - each service has its own class
    return Runtime(life.db, settings, asyncio.Event(), asyncio.Event())
