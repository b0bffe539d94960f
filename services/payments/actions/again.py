"""Telling again what orders has not answered."""

from collections.abc import Sequence

from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.payments import domain
from services.payments.actions.story import move


async def tell_again(tx: Tx, commands: Sequence[domain.TellAgain]) -> Verdicts[domain.Intent]:
    """The payments of these intents, once more."""
    return await move(tx, commands, domain.tell_payment_again)
