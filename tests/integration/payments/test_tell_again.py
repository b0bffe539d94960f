"""A payment that orders seems to have missed is told again, as long as nobody has answered it."""

from uuid import UUID

from services.chassis.ids import new_id
from services.payments import actions, domain
from tests.integration.payments.desk import Desk, finalized


async def tell_again(desk: Desk, *subjects: UUID) -> list[str]:
    commands = [domain.TellAgain(one) for one in subjects]
    async with desk.db.transaction() as tx:
        return [type(one).__name__ for one in (await actions.tell_again(tx, commands)).outcomes]


async def test_proven_money_is_told_again_as_it_was_told(desk: Desk) -> None:
    order_id = await desk.opened()
    await desk.answer(order_id, desk.paid())
    assert await tell_again(desk, order_id) == ["Changed"]
    told = await desk.topics(order_id)
    assert told.count("payment.verified") == 2
    assert [number for number, _ in await desk.told(order_id)] == list(range(1, len(told) + 1))
    bodies = await desk.admin.fetch("select distinct payload from outbox where topic = 'payment.verified'")
    assert len(bodies) == 1
    assert await desk.status(order_id) == "SUCCEEDED"


async def test_what_is_unpaid_unknown_or_answered_is_refused(desk: Desk) -> None:
    unpaid, answered = await desk.opened(), await desk.opened()
    await desk.answer(answered, desk.paid())
    await desk.finalize(finalized(answered))
    before = await desk.everything()
    assert await tell_again(desk, unpaid, answered, new_id()) == ["Refused"] * 3
    assert await desk.everything() == before
