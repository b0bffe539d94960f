"""Everything payments does, each with the state in which it has the most to do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from contracts.event import Event
from services.chassis.app import Runtime, Service
from services.chassis.ids import new_id
from services.payments import gateways, handlers, reconcilers
from services.payments.app import build
from services.payments.poller import Line
from services.payments.providers import Adapter, Answer, Asked
from services.payments.settings import PaymentsSettings
from services.payments.verdicts import Declined, Mismatch, NotSeen
from tests.fakes.esewa import Simulator
from tests.integration.crash.place import Place, settings_for
from tests.integration.payments.conftest import QUICK
from tests.integration.payments.desk import (
    ADMIN,
    Desk,
    cancelled,
    finalized,
    item_cancelled,
    item_fulfilled,
    reserved,
)
from tests.support.crash.fate import Fate
from tests.support.crash.registered import alarms
from tests.support.crash.trying import Life, Scenario, Work
from tests.support.crash.work import Hearing

TIED: Final = "update outbox_shard set snap = pg_current_snapshot()"
DUE: Final = "update attempts set next_check_at = now() where next_check_at is not null"
ANSWERED: Final = "update attempts set answered_at = now() + interval '1 s'"
ASKED_AGAIN: Final = frozenset({"gateway_observations", "attempts.checks", "intents.version"})
"""A gateway that is asked twice is written down twice."""
ASKED_ABOUT: Final = frozenset({"attempts.next_check_at", "attempts.answered_at"})
"""Who wants to pay again has every attempt asked about first, also the one that the lost answer opened."""


def wired(dsn: str, folder: Path, simulator: Simulator) -> Service:
    """Payments on this database, with the gateway's stand-in."""
    urls: dict[str, Any] = {"esewa_form_url": simulator.form_url, "esewa_status_url": simulator.status_url}
    return build(PaymentsSettings(**settings_for(dsn, folder), **urls, **QUICK))


class MortalGateway:
    """A gateway that is asked by a process: each lookup is one of its steps."""

    def __init__(self, adapter: Adapter, fate: Fate) -> None:
        self.adapter, self.fate = adapter, fate

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the adapter has
        return getattr(self.adapter, name)

    async def check(self, asked: Asked) -> Answer:
        return await self.fate.take("(ask the gateway)", lambda: self.adapter.check(asked))


def through_mortal_gateways(life: Life) -> None:
    """From now on this process asks the gateways."""
    adapters = gateways.in_use().adapters
    for provider, adapter in adapters.items():
        real = adapter.adapter if isinstance(adapter, MortalGateway) else adapter
        adapters[provider] = MortalGateway(real, life.fate)


@dataclass(slots=True)
class Polling:
    """What the poller does with all that is due, once; its leases have run out by the next life."""

    place: Place

    def afresh(self) -> None:
        """The clock needs no asking."""

    async def do(self, life: Life) -> None:
        await self.place.admin.execute(DUE)
        through_mortal_gateways(life)
        in_use = gateways.in_use()
        runtime = Runtime(life.db, in_use.settings, asyncio.Event(), asyncio.Event())
        line = Line(runtime, in_use, in_use.adapters["esewa"])
        line.bucket.tokens = 10.0
        await line._ask_what_is_due()  # noqa: SLF001 - one round of what `run` does for ever
        await asyncio.gather(*line.calls)
        await line._settle_all()  # noqa: SLF001

    def ask_again(self) -> None:
        """It comes round anyway."""


def hears(before: Callable[[Desk], Awaitable[Any]], event: Callable[[Any], Event]) -> Scenario:
    """Two orders have come this far and hear it, and one of them more than once."""

    async def prepare(place: Place) -> Work:
        events: Sequence[Event] = [event(await before(place.world)) for _ in range(2)]
        return Hearing(handlers.consumer, [*events, events[0]])

    return Scenario(prepare)


async def nothing(_: Desk) -> UUID:
    return new_id()


async def paid(desk: Desk) -> UUID:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    return order_id


async def ordered(desk: Desk) -> Any:  # noqa: ANN401 - the event it was told with
    order = finalized(await paid(desk), (200_00, 100_00))
    await desk.finalize(order)
    return order


async def _closes(place: Place) -> Work:
    for _ in range(2):
        order_id = await place.world.opened()
        await place.world.answer(order_id, NotSeen())
        await place.world.end_window(order_id)
    await place.admin.execute(ANSWERED)
    return place.heal("close_windows")


async def _alarms(place: Place) -> Work:
    place.world.use(alarm_unanswered_s=0.0)
    await paid(place.world)
    await place.admin.execute(TIED)
    return place.heal("alarm_unanswered")


async def _opens_cases(place: Place) -> Work:
    place.world.use(alarm_unanswered_s=0.0, unanswered_s=0.0)
    await paid(place.world)
    await place.admin.execute(TIED)
    async with place.world.db.transaction() as tx:
        await place.heal("alarm_unanswered").duty.heal(tx, await tx.now())
    return place.heal("open_unanswered_cases")


async def _wakes(place: Place) -> Work:
    await place.world.opened()
    await place.admin.execute("update attempts set next_check_at = null")
    return place.heal("wake_forgotten_attempts")


async def _polls(place: Place) -> Work:
    for _ in range(2):
        await place.world.pay(await place.world.opened())
    return Polling(place)


def _asks(place: Place, request: str, body: object = None, **said: Any) -> Work:  # noqa: ANN401
    return place.ask(request, body, **{"who": ADMIN, "role": "admin"} | said, enter=through_mortal_gateways)


async def _pays_again(place: Place) -> Work:
    order_id = await place.world.opened(customer_id=(customer := new_id()))
    said = {"who": customer, "role": "customer"}
    return _asks(place, f"POST /v1/checkouts/{order_id}/attempts", {"provider": "esewa"}, **said)


async def _comes_back(place: Place) -> Work:
    [attempt] = await place.world.attempts(await place.world.opened())
    return _asks(place, f"GET /v1/payments/return/esewa/{attempt['reference']}")


async def _proves(place: Place) -> Work:
    order = await ordered(place.world)
    await place.world.cancel_items(item_cancelled(order))
    [refund] = await place.world.rows("refunds", order.order_id)
    path = f"/v1/admin/payments/refunds/{refund['id']}/complete"
    return _asks(place, f"POST {path}", {"evidence_ref": "PORTAL-7"})


async def _refunds(place: Place) -> Work:
    order_id = await place.world.opened()
    await place.world.answer(order_id, Mismatch("less", 1_00, "T-odd"))
    [case] = await place.world.rows("review_cases", order_id)
    return _asks(place, f"POST /v1/admin/payments/cases/{case['id']}/refund")


async def _upholds(place: Place) -> Work:
    order_id = await paid(place.world)
    await place.world.answer(order_id, Declined())
    await place.world.cancel(cancelled(order_id))
    [case] = await place.world.rows("review_cases", order_id)
    return _asks(place, f"POST /v1/admin/payments/cases/{case['id']}/uphold")


async def _verifies(place: Place) -> Work:
    await place.world.pay(order_id := await place.world.opened())
    [attempt] = await place.world.attempts(order_id)
    return _asks(place, f"POST /v1/admin/payments/attempts/{attempt['id']}/verify")


def watches(name: str) -> Scenario:
    """Something of everything is there when the duty looks."""

    async def prepare(place: Place) -> Work:
        order = await ordered(place.world)
        await place.world.cancel_items(item_cancelled(order))
        await place.world.opened()
        return place.heal(name)

    return Scenario(prepare, idle=True)


SCENARIOS: Final = {
    **{one: watches(one) for one in alarms(reconcilers)},
    "stock.reserved": hears(nothing, reserved),
    "order.finalized": hears(paid, finalized),
    "order.cancelled": hears(paid, cancelled),
    "item.cancelled": hears(ordered, item_cancelled),
    "item.fulfilled": hears(ordered, item_fulfilled),
    "close_windows": Scenario(_closes),
    "alarm_unanswered": Scenario(_alarms),
    "open_unanswered_cases": Scenario(_opens_cases),
    "wake_forgotten_attempts": Scenario(_wakes),
    "poll_attempts": Scenario(_polls, ASKED_AGAIN),
    "POST /v1/checkouts/{id}/attempts": Scenario(_pays_again, ASKED_AGAIN | ASKED_ABOUT),
    "GET /v1/payments/return/{provider}/{reference}": Scenario(_comes_back),
    "POST /v1/admin/payments/refunds/{id}/complete": Scenario(_proves),
    "POST /v1/admin/payments/cases/{id}/refund": Scenario(_refunds),
    "POST /v1/admin/payments/cases/{id}/uphold": Scenario(_upholds),
    "POST /v1/admin/payments/attempts/{id}/verify": Scenario(_verifies, ASKED_AGAIN),
}
