"""One person at the API: each request goes into the history, a refused connection is tried next door."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2

from infra.people import TokenMaker
from tests.chaos.history import Recorder, Type

TIMEOUT: Final = httpx2.Timeout(5.0, connect=1.0)
PATIENCE_S: Final = 120.0
"""Longer than any fault of a short run with everything that heals after it."""
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0
OF_THE_MOMENT: Final = frozenset({"CONCURRENT_UPDATE", "QUOTA_EXCEEDED"})
"""Refusals without any effect that say: not now."""
SHOWN: Final = ("id", "checkout_id", "order_id", "stage", "status", "version", "code")


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a request."""

    type: Type
    status: int | None
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))

    @property
    def is_final(self) -> bool:
        """Whether asking again could tell nothing new."""
        return self.type == "ok" or (
            self.type == "fail" and self.status is not None and self.code not in OF_THE_MOMENT
        )


def outcome_of(status: int, code: str) -> Type:
    """What an answer says about the effect: it happened, it certainly did not, or nobody knows."""
    if status < httpx2.codes.BAD_REQUEST or code == "CHECKOUT_REJECTED":
        return "ok"
    # A 503 of the gateway may follow a request that a service has taken and not answered in time.
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR or code == "IDEMPOTENCY_KEY_IN_FLIGHT":
        return "info"
    return "fail"


def gist(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of an answer the history keeps: enough for the checks, no address and no name."""
    kept = {name: body[name] for name in SHOWN if body.get(name) is not None}
    for name in ("items", "lines"):
        if isinstance(body.get(name), list):
            kept[name] = [_line(one) for one in body[name]]
    return kept


def _line(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("id", "sku", "quantity", "status", "version") if name in one}


@dataclass(frozen=True, slots=True)
class Doors:
    """Every gateway there is, the issuer of tokens, and the history: what all people share."""

    gates: Sequence[httpx2.AsyncClient]
    make_token: TokenMaker
    recorder: Recorder

    async def close(self) -> None:
        for gate in self.gates:
            await gate.aclose()


def gate_at(url: str) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=50)
    return httpx2.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits, trust_env=False)


class Caller:
    """Somebody with a token and a name in the history."""

    def __init__(
        self, doors: Doors, name: str, role: str, chance: Random, *, vendor_id: UUID | None = None
    ) -> None:
        self.doors, self.name, self.chance = doors, name, chance
        self.id = uuid4()
        self.token = doors.make_token(subject=self.id, roles=[role], vendor_id=vendor_id)

    async def ask(
        self,
        f: str,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        version: int | None = None,
        **args: object,
    ) -> Told:
        """One request, whatever comes of it."""
        trace_id = secrets.token_hex(16)
        headers = {
            "authorization": f"Bearer {self.token}",
            "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        }
        headers |= {"idempotency-key": key} if key else {}
        headers |= {"if-match": f'"{version}"'} if version is not None else {}
        seen = {"path": path, "customer": str(self.id), **args}
        asked = self.doors.recorder.invoke(self.name, f, seen, idempotency_key=key, trace_id=trace_id)
        try:
            answer = await self._send(method, path, body, headers)
            told = _told(answer)
        except httpx2.HTTPError as error:
            # Nobody took a connection, so nobody took the request.
            refused = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            told = Told("fail" if refused else "info", None, {"code": type(error).__name__})
        except asyncio.CancelledError:
            self.doors.recorder.end(asked, "info")
            raise
        self.doors.recorder.end(asked, told.type, told.status, **gist(told.body))
        return told

    async def _send(
        self, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> httpx2.Response:
        gates = self.chance.sample(self.doors.gates, len(self.doors.gates))
        for gate in gates[:-1]:
            try:
                return await gate.request(method, path, json=body, headers=headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await gates[-1].request(method, path, json=body, headers=headers)

    async def insist(
        self,
        f: str,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        version: int | None = None,
        **args: object,
    ) -> Told:
        """The same request, with the same key, until its outcome is clear or patience is over."""
        until, pause_s = monotonic() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            told = await self.ask(f, method, path, body, key=key, version=version, **args)
            if told.is_final or monotonic() > until:
                return told
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)


def _told(answer: httpx2.Response) -> Told:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = {"code": "NOT_JSON"}
    found: Mapping[str, Any] = body if isinstance(body, dict) else {"data": body}
    if answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE and "retry-after" not in answer.headers:
        found = {**found, "code": f"{found.get('code', '')} WITHOUT_RETRY_AFTER"}
    return Told(outcome_of(answer.status_code, str(found.get("code", ""))), answer.status_code, found)
