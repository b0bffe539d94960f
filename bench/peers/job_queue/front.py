"""The replaced design's door: the front all services have, and its own checkout function behind it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request, Response

from bench import catalogue
from contracts.http.orders import NewCheckout
from services.chassis import idempotency, logs
from services.chassis.app import Process, Runtime, Service
from services.chassis.auth import Principal, require
from services.chassis.db import Database, Tx
from services.chassis.http import Db, IdempotencyKey
from services.chassis.idempotency import Answer
from services.chassis.ids import new_id
from services.orders.addresses import Addresses
from services.orders.settings import OrdersSettings

PLACE: Final = "select place_checkout($1, $2, $3, $4)"

router = APIRouter()
Customer = Annotated[Principal, Depends(require("customer"))]


@dataclass(frozen=True, slots=True)
class Opened:
    """A placed checkout that can be paid."""

    number: int
    intent: UUID
    amount_paisa: int


class Door(Process):
    """The HTTP server of a service's process, and nothing of what else runs in one."""

    def _start_background(self, db: Database, runtime: Runtime) -> None:
        """No relay, no consumer: the design has none."""


async def serve(settings: str, opened: Callable[[Opened], None], stopping: asyncio.Event) -> None:
    """Answer until `stopping`; `settings` are those of orders as JSON, `opened` hears of every checkout."""
    said = OrdersSettings(**orjson.loads(settings))
    logs.start("job-queue", said.instance, said.log_level)
    state = {"addresses": Addresses.read(said.address_key_file), "opened": opened}
    door = Door(Service("job-queue", said, router, state=state))
    door.stopping = stopping
    await door.run()


@router.post("/v1/checkouts", status_code=201)
async def place(
    request: Request, db: Db, caller: Customer, key: IdempotencyKey, body: NewCheckout
) -> Response:
    """What is in the cart is held and can be paid; a request sent again gets the same answer."""
    intent = new_id()
    addresses: Addresses = request.app.state.addresses
    address = addresses.seal(intent, body.shipping_address.model_dump(exclude_none=True))

    async def work(tx: Tx) -> Answer:
        amount = await tx.fetchval(PLACE, intent, caller.subject, address, intent.hex)
        return Answer(201, {"id": str(intent), "stage": "awaiting_payment", "amount_paisa": amount})

    answer = await idempotency.once(db, await idempotency.request_of(request, caller, key), work)
    if not answer.replayed:
        number = catalogue.number_of(caller.subject)
        request.app.state.opened(Opened(number, intent, answer.body["amount_paisa"]))
    return idempotency.respond(answer)
