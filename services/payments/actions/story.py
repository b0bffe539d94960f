"""The story every action tells: lock the intents, decide each cause, save what differs, tell it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from services.chassis import outbox
from services.chassis.db import Tx
from services.chassis.decisions import Cause, Decision, Verdicts, decide_each
from services.payments.domain import Intent
from services.payments.store import changes, intents

C = TypeVar("C", bound=Cause)


async def move(
    tx: Tx, causes: Sequence[C], decide: Callable[[Intent | None, C], Decision[Intent]]
) -> Verdicts[Intent]:
    """All four steps, each once for the whole list."""
    known = await intents.lock_intents(tx, [cause.key for cause in causes])
    return await move_locked(tx, known, causes, decide)


async def move_locked(
    tx: Tx,
    known: Mapping[UUID, Intent],
    causes: Sequence[C],
    decide: Callable[[Intent | None, C], Decision[Intent]],
) -> Verdicts[Intent]:
    """The last three steps, for who has read the locked intents to make its causes."""
    verdicts = decide_each(causes, known, decide)
    await changes.save_intents(tx, known, verdicts.changed)
    await outbox.tell(tx, verdicts.told)
    return verdicts
