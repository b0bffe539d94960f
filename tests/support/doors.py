"""A client of several gateways: where one refuses the connection, the next is asked; what fails is kept."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from time import monotonic
from typing import Any, Final, Self

import httpx2

from infra.people import Api, ApiError

PATIENCE: Final = 30
"""So often a request is sent again that was told to be."""
CONTENDED: Final = frozenset({"CONCURRENT_UPDATE", "IDEMPOTENCY_KEY_IN_FLIGHT"})
CONTENDED_S: Final = 0.1


class UnansweredError(Exception):
    """A request got no answer, or one that is no excuse; it is noted in `Doors.failed`."""


@dataclass(slots=True)
class Doors(Api):
    """Stands in for one gateway. `failed` is every request that had no answer, or one that is no excuse."""

    others: Sequence[httpx2.AsyncClient] = ()
    answered: int = 0
    refused: int = 0
    """Connections that were refused; another gateway was asked at once."""
    busy: int = 0
    """503 with Retry-After; the same request was sent again."""
    contended: int = 0
    """409 for a row or key that another request was at work on; the same request was sent again."""
    waits: list[float] = field(default_factory=list)
    """Seconds from sending a request to its answer, other gateways and pauses included."""
    failed: list[str] = field(default_factory=list)
    turn: Iterator[int] = field(default_factory=count)

    @classmethod
    def of(cls, urls: Sequence[str]) -> Self:
        first, *others = (httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) for url in urls)
        return cls(urls[0], first, others)

    async def close(self) -> None:
        for client in (self.client, *self.others):
            await client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        token: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON answer; raises ApiError for a refusal that is the caller's own."""
        sent = {"authorization": f"Bearer {token}"} | dict(headers or {})
        began = monotonic()
        for _ in range(PATIENCE):
            answer = await self._ask(method, path, sent, body)
            again_s = _again_after_s(answer)
            if again_s is None:
                self.waits.append(monotonic() - began)
                return self._judged(method, path, answer)
            if answer.status_code == HTTPStatus.CONFLICT:
                self.contended += 1
            else:
                self.busy += 1
            await asyncio.sleep(again_s)
        raise self._note(f"{method} {path}: busy {PATIENCE} times in a row")

    async def _ask(self, method: str, path: str, sent: Mapping[str, str], body: object) -> httpx2.Response:
        doors = (self.client, *self.others)
        first = next(self.turn)
        for place in range(2 * len(doors)):
            door = doors[(first + place) % len(doors)]
            try:
                answer = await door.request(method, path, json=body, headers=dict(sent))
            except httpx2.ConnectError:
                self.refused += 1
            except httpx2.TransportError as error:
                raise self._note(f"{method} {path} at {door.base_url}: {error!r}") from error
            else:
                self.answered += 1
                return answer
        raise self._note(f"{method} {path}: every gateway refused the connection")

    def _judged(self, method: str, path: str, answer: httpx2.Response) -> dict[str, Any]:
        found: dict[str, Any] = answer.json() if answer.content else {}
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._note(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        if answer.is_error:
            raise ApiError(answer.status_code, found)
        return found

    def _note(self, what: str) -> UnansweredError:
        self.failed.append(what)
        return UnansweredError(what)


def _again_after_s(answer: httpx2.Response) -> float | None:
    """How long to wait before the same request is sent again; None when this is the answer."""
    if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" in answer.headers:
        return float(answer.headers["retry-after"])
    if answer.status_code == HTTPStatus.CONFLICT and answer.json().get("code") in CONTENDED:
        return CONTENDED_S
    return None
