"""Moving items over HTTP: what arrives together is moved together, each answer stored beside its effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, TypeAlias
from uuid import UUID

from fastapi import Depends, Request

from contracts.event import NIL, Envelope
from services.chassis import idempotency
from services.chassis.coalesce import Coalescer, Member
from services.chassis.db import Database, Tx
from services.chassis.decisions import Changed, Refused
from services.chassis.errors import Problem
from services.chassis.http import etag, settings_of
from services.chassis.idempotency import Answer, Fresh, Replay
from services.orders.actions import items as actions
from services.orders.api.views import problem_of, vendor_item_view
from services.orders.domain import MoveItem, Order
from services.orders.store import reading
from services.orders.store.reading import ItemSeen


@dataclass(frozen=True, slots=True)
class Moving:
    """One wish to move an item; without an order id the item's own order is meant."""

    request: idempotency.Request
    command: MoveItem


Mover: TypeAlias = Coalescer[Moving, Answer]


async def _mover(request: Request) -> Mover:
    state = request.app.state
    if not hasattr(state, "moving"):
        state.moving = Coalescer(partial(move_many, state.db, settings_of(request).lock_wait_ms))
    mover: Mover = state.moving
    return mover


Moves = Annotated[Mover, Depends(_mover)]
"""One for all requests of this process: a hundred vendors of one order share a transaction."""


async def move_many(
    db: Database, lock_wait_ms: int, members: Sequence[Member[Moving]]
) -> Sequence[Answer | Exception]:
    """All these moves in one transaction; a row busy for longer fails it, and each is then tried alone."""
    async with db.transaction(lock_timeout_ms=lock_wait_ms) as tx:
        claims = await idempotency.claim(tx, [one.item.request for one in members])
        fresh = [one for one, claimed in zip(members, claims, strict=True) if isinstance(claimed, Fresh)]
        moved = dict(zip(map(id, fresh), await _move(tx, fresh), strict=True))
        stored = [(one.item.request, answer) for one in fresh if (answer := _stored(one, moved[id(one)]))]
        await idempotency.remember(tx, stored)
    outcomes: list[Answer | Exception] = []
    for one, claimed in zip(members, claims, strict=True):
        match claimed:
            case Fresh():
                outcomes.append(moved[id(one)])
            case Replay():
                outcomes.append(claimed.answer)
            case _:
                outcomes.append(idempotency.refusal_of(claimed))
    return outcomes


def _stored(member: Member[Moving], outcome: Answer | Problem) -> Answer | None:
    """What a repeated request gets; nothing is kept of a refusal that is about the moment or the person."""
    if isinstance(outcome, Answer):
        return outcome
    return (
        idempotency.refusal_answer(outcome, member.item.request.route)
        if idempotency.is_stored(outcome)
        else None
    )


async def _move(tx: Tx, fresh: Sequence[Member[Moving]]) -> list[Answer | Problem]:
    if not fresh:
        return []
    owners = await reading.orders_of_items(tx, [one.item.command.item_id for one in fresh])
    commands = [_addressed(one, owners) for one in fresh]
    verdicts = await actions.move_items(tx, commands)
    return [
        _answer(command, verdicts.changed[command.key])
        if isinstance(outcome, Changed)
        else problem_of(outcome if isinstance(outcome, Refused) else Refused("NOT_FOUND"))
        for command, outcome in zip(commands, verdicts.outcomes, strict=True)
    ]


def _addressed(member: Member[Moving], owners: Mapping[UUID, UUID]) -> MoveItem:
    command = member.item.command
    order_id = command.order_id if command.order_id != NIL else owners.get(command.item_id, NIL)
    return replace(command, order_id=order_id, envelope=Envelope(traceparent=member.traceparent))


def _answer(command: MoveItem, order: Order) -> Answer:
    """The item after the step; when one batch moved it twice, after the second."""
    item = next(one for one in order.items if one.id == command.item_id)
    seen = ItemSeen(item, order.order_id, order.order_number, order.blocked)
    body = vendor_item_view(seen, command.actor).model_dump(mode="json")
    return Answer(200, body, {"ETag": etag(item.version)})
