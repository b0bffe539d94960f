"""Live views over SSE: the present state first, then every change, until the final one."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import time
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contracts.http import Id
from contracts.http.gateway import CheckoutView
from contracts.http.orders import Order
from services.chassis.auth import Principal
from services.gateway.api import checkouts
from services.gateway.api.admission import PROBLEMS, SIGNED_IN, admit
from services.gateway.api.forwards import CUSTOMER
from services.gateway.live import Live, Watch
from services.gateway.streams import Streams
from services.gateway.upstreams import Upstreams

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Customer = Annotated[Principal, Depends(admit(*CUSTOMER))]

RETRY_MS: Final = 2000
LOOK_S: Final = 1.0
ENDED: Final = frozenset({"delivered", "cancelled"})
"""The statuses of an order after which nothing more comes."""

View = CheckoutView | Order


@dataclass(frozen=True, slots=True)
class Stream:
    """One open stream: what it shows first, how to look again, until when the token is good."""

    name: str
    first: View
    look: Callable[[], Awaitable[View]]
    watch: Watch
    until: float
    ending: asyncio.Event | None = None
    """Set once this process is about to stop."""


async def _checkout(request: Request, id: Id, caller: Customer) -> AsyncIterator[Stream]:  # noqa: A002
    async def look() -> CheckoutView:
        return await checkouts.view_of(request, id)

    async for stream in _open(request, caller, id, "checkout", look):
        yield stream


async def _order(request: Request, id: Id, caller: Customer) -> AsyncIterator[Stream]:  # noqa: A002
    async def look() -> Order:
        upstreams: Upstreams = request.app.state.upstreams
        who = {"authorization": request.headers["authorization"]}
        return await upstreams.get("orders", f"/v1/orders/{id}", Order, who)

    async for stream in _open(request, caller, id, "order", look):
        yield stream


async def _open(
    request: Request, caller: Principal, order_id: UUID, name: str, look: Callable[[], Awaitable[View]]
) -> AsyncIterator[Stream]:
    """Everything that may be refused is refused here, before the first byte of the stream."""
    live: Live = request.app.state.live
    streams: Streams = request.app.state.streams
    with streams.one_of(caller.subject), live.watch(order_id) as watch:
        ending = getattr(request.app.state, "stopping", None)
        yield Stream(name, await look(), look, watch, caller.expires_at, ending)


@router.get(
    "/checkouts/{id}/events",
    response_class=EventSourceResponse,
    openapi_extra=SIGNED_IN,
    operation_id="get_checkouts_id_events",
)
async def checkout_events(stream: Annotated[Stream, Depends(_checkout)]) -> AsyncIterable[ServerSentEvent]:
    """Event `checkout` with the view of `GET /v1/checkouts/{id}`, its `version` as id."""
    async for event in follow(stream):
        yield event


@router.get(
    "/orders/{id}/events",
    response_class=EventSourceResponse,
    openapi_extra=SIGNED_IN,
    operation_id="get_orders_id_events",
)
async def order_events(stream: Annotated[Stream, Depends(_order)]) -> AsyncIterable[ServerSentEvent]:
    """Event `order` with the view of `GET /v1/orders/{id}`, its `version` as id."""
    async for event in follow(stream):
        yield event


async def follow(stream: Stream) -> AsyncIterator[ServerSentEvent]:
    """The full state first, whatever `Last-Event-ID` says; then each change; ends with the final one.

    A look that fails ends the stream, and so does a process that stops: the browser comes again by itself
    after `retry`.
    """
    shown = stream.first
    yield _event(stream.name, shown)
    while not is_final(shown) and not (stream.ending is not None and stream.ending.is_set()):
        left_s = stream.until - time()
        if left_s <= 0:
            yield ServerSentEvent(event="expired", data={})
            return
        await stream.watch.wait(min(left_s, LOOK_S))
        seen = await stream.look()
        if seen != shown:
            shown = seen
            yield _event(stream.name, shown)


def is_final(view: View) -> bool:
    """Whether nothing more will come."""
    if isinstance(view, Order):
        return view.status in ENDED
    return view.stage in checkouts.FINAL


def _event(name: str, view: View) -> ServerSentEvent:
    return ServerSentEvent(raw_data=view.model_dump_json(), event=name, id=str(view.version), retry=RETRY_MS)
