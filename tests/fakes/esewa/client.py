"""A payer with a browser, and a hand on the simulator's controls."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self
from urllib.parse import urljoin

import httpx2
import orjson

from tests.fakes.esewa.emission import Emission
from tests.fakes.esewa.faults import Fault, Match, Operation, ReturnShape, Rule
from tests.fakes.esewa.gateway import FORM_PATH, STATUS_PATH
from tests.fakes.esewa.world import Profile

BROWSER_TIMEOUT_S = 30.0
CONNECTIONS = httpx2.Limits(max_connections=200, max_keepalive_connections=100)


class RefusedError(RuntimeError):
    """The gateway did not take the form or the payment; `status` is HTTP's, `message` eSewa's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class PayResult:
    """What became of one visit to the pay page.

    `status` and `ref_id` are the truth about the money. `return_url` is where the browser was sent,
    None for a tab that closed by fault. `return_status` is the HTTP status the merchant gave to the
    followed return: None when it was not followed, or when nobody answered (`return_error` says why).
    """

    reference: str
    status: str
    ref_id: str | None
    return_url: str | None
    return_status: int | None = None
    return_location: str | None = None
    return_error: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """One row of the truth; money moved exactly when `paid_at` is set (so not for CANCELED)."""

    reference: str
    product_code: str
    amount_paisa: int
    ref_id: str | None
    status: str
    paid_at: datetime | None
    refunded_paisa: int


@dataclass(frozen=True, slots=True)
class Logged:
    """One request the gateway received; operations: form, status, pay, cancel, leave."""

    number: int
    at: float
    operation: str
    reference: str
    total_amount: str
    product_code: str
    fault: str | None


class _Carried(httpx2.AsyncHTTPTransport):
    """Carries what is meant for one origin to another, as a published port does: the Host header stays."""

    def __init__(self, origin: str) -> None:
        super().__init__(limits=CONNECTIONS, trust_env=False)
        self._origin = httpx2.URL(origin)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        to = self._origin
        request.url = request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port)
        return await super().handle_async_request(request)


class Simulator:
    """Talks to a running simulator by its two URLs; `async with` it, or call `aclose`.

    `published`: origins that forms and returns name -> where they are reached from here, for a payer who
    sits behind ports that are published elsewhere.
    """

    def __init__(
        self, base_url: str, control_url: str, *, published: Mapping[str, str] | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.control_url = control_url.rstrip("/")
        self._browser = httpx2.AsyncClient(
            timeout=BROWSER_TIMEOUT_S,
            limits=CONNECTIONS,
            follow_redirects=False,
            trust_env=False,
            mounts={seen: _Carried(here) for seen, here in (published or {}).items()},
        )

    @property
    def form_url(self) -> str:
        return self.base_url + FORM_PATH

    @property
    def status_url(self) -> str:
        return self.base_url + STATUS_PATH

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._browser.aclose()

    async def pay(self, form_url: str, fields: Mapping[str, str], *, follow_return: bool = True) -> PayResult:
        """Submits the form and pays; `follow_return=False` is the tab closed after paying."""
        return await self.finish(await self.submit(form_url, fields), "pay", follow_return=follow_return)

    async def cancel(
        self, form_url: str, fields: Mapping[str, str], *, follow_return: bool = True
    ) -> PayResult:
        return await self.finish(await self.submit(form_url, fields), "cancel", follow_return=follow_return)

    async def submit(self, form_url: str, fields: Mapping[str, str]) -> str:
        """The address of the pay page, where one may `finish` at any later time; RefusedError without one."""
        answer = await self._browser.post(form_url, data=dict(fields))
        if answer.status_code != httpx2.codes.FOUND:
            raise _refused(answer)
        return urljoin(form_url, answer.headers["location"])

    async def finish(
        self, page_url: str, action: Literal["pay", "cancel", "leave"], *, follow_return: bool = True
    ) -> PayResult:
        answer = await self._browser.post(f"{page_url}/{action}")
        told = _told(answer)
        if told is None:
            raise _refused(answer)
        return_url = answer.headers.get("location")
        result = PayResult(told["reference"], told["status"], told["ref_id"], return_url)
        return await self._follow(result) if follow_return and return_url else result

    async def _follow(self, result: PayResult) -> PayResult:
        assert result.return_url is not None
        told = (result.reference, result.status, result.ref_id, result.return_url)
        try:
            answer = await self._browser.get(result.return_url)
        except httpx2.HTTPError as error:
            return PayResult(*told, return_error=repr(error))
        return PayResult(
            *told, return_status=answer.status_code, return_location=answer.headers.get("location")
        )

    async def truth(self, reference: str | None = None) -> list[Payment]:
        """Every payment ever settled here, in the order it settled."""
        return [row async for row in self.stream_truth(reference)]

    async def stream_truth(self, reference: str | None = None) -> AsyncIterator[Payment]:
        """The same, row by row, for worlds too large to hold twice."""
        only = {} if reference is None else {"reference": reference}
        headers = {"accept": "application/x-ndjson"}
        url = f"{self.control_url}/_sim/truth"
        async with self._browser.stream("GET", url, params=only, headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                yield _payment(orjson.loads(line))

    async def faults(
        self,
        fault: Fault,
        *,
        op: Operation,
        ref: str | None = None,
        nth: int = 1,
        times: int | None = 1,
        probability: float = 1.0,
        seed: int = 0,
    ) -> int:
        """Orders a fault for the next matching request (or `times` of them, None for ever); its id."""
        match = Match(op=op, ref=ref, nth=nth)
        rule = Rule(match=match, fault=fault, times=times, probability=probability, seed=seed)
        return int((await self._control("POST", "faults", rule.model_dump()))["id"])

    async def withdraw_fault(self, number: int) -> int:
        """Ends one rule and no other; how often it fired."""
        return int((await self._control("DELETE", f"faults/{number}"))["fired"])

    async def clear_faults(self) -> None:
        await self._control("DELETE", "faults")

    async def standing_faults(self) -> list[dict[str, Any]]:
        """The rules in force, each with how many requests it `matched` and how often it `fired`."""
        return list((await self._control("GET", "faults"))["faults"])

    async def log(
        self, *, after: int = 0, operation: str | None = None, reference: str | None = None
    ) -> list[Logged]:
        asked = {"after": str(after), "operation": operation, "reference": reference}
        params = {name: value for name, value in asked.items() if value is not None}
        return [Logged(**row) for row in (await self._control("GET", "log", params=params))["requests"]]

    async def clock(self, *, advance_s: float = 0.0) -> datetime:
        """The gateway's time, after moving it forward."""
        told = await self._control("POST", "clock", {"advance_s": advance_s})
        return datetime.fromisoformat(told["now"])

    async def profile(self, **switches: bool | int) -> Profile:
        """Sets the named switches, keeps the others, and tells all of them."""
        return Profile(**await self._control("POST", "profile", switches))

    async def move(
        self,
        reference: str,
        status: Literal["REVERSED", "REFUNDED", "PARTIALLY_REFUNDED"],
        *,
        refunded_paisa: int | None = None,
    ) -> Payment:
        """What an operator does in the merchant portal: reverse a payment or give it back."""
        body = {"status": status, "refunded_paisa": refunded_paisa}
        return _payment(await self._control("POST", f"payments/{reference}", body))

    async def returns(
        self,
        reference: str,
        shape: ReturnShape | None = None,
        *,
        times: int = 1,
        at_once: int = 1,
        delay_s: float = 0.0,
        deliver: bool = True,
    ) -> dict[str, Any]:
        """Sends the browser return again; tells its `url` and `answers`: deliveries per HTTP status."""
        emission = Emission(
            shape=shape or ReturnShape(), times=times, at_once=at_once, delay_s=delay_s, deliver=deliver
        )
        return await self._control("POST", f"returns/{reference}", emission.model_dump())

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """The gateway's port refuses connections inside the block."""
        await self._control("POST", "outage", {})
        try:
            yield
        finally:
            await self._control("DELETE", "outage")

    async def reset(self, profile: Profile | None = None) -> None:
        """A new world: no payments, no faults, no log, clock and switches as they were at first."""
        await self._control("POST", "reset", {"profile": profile and profile.model_dump()})

    async def _control(
        self, method: str, path: str, body: object = None, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        url = f"{self.control_url}/_sim/{path}"
        answer = await self._browser.request(method, url, json=body, params=params)
        if answer.is_error:
            raise _refused(answer)
        content: dict[str, Any] = answer.json()
        return content


def _told(answer: httpx2.Response) -> dict[str, Any] | None:
    """What the pay page says about the money; None for an answer without it."""
    if answer.status_code not in (httpx2.codes.OK, httpx2.codes.FOUND):
        return None
    try:
        told = answer.json()
    except ValueError:
        return None
    return told if isinstance(told, dict) and "reference" in told else None


def _refused(answer: httpx2.Response) -> RefusedError:
    try:
        content = answer.json()
    except ValueError:
        return RefusedError(answer.status_code, answer.text[:200])
    if not isinstance(content, dict):
        return RefusedError(answer.status_code, answer.text[:200])
    return RefusedError(
        answer.status_code, str(content.get("error_message") or content.get("detail") or content)
    )


def _payment(row: dict[str, Any]) -> Payment:
    paid_at = row["paid_at"] and datetime.fromisoformat(row["paid_at"])
    return Payment(**row | {"paid_at": paid_at})
