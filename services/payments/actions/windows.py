"""Windows and waiting: browser returns, windows that end, money nobody has answered."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.event import Envelope
from services.chassis.db import Tx
from services.chassis.decisions import Changed, Verdicts
from services.chassis.ids import new_id
from services.payments import domain
from services.payments.actions.story import move, move_locked
from services.payments.domain.schedule import Plan
from services.payments.providers import Hint
from services.payments.store import evidence, intents
from services.payments.store.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Return:
    """One browser that came back, with what its payload was worth and the hash of what it carried."""

    subject_id: UUID
    attempt_id: UUID
    hint: Hint
    sha256: bytes


def returned(subject_id: UUID, attempt_id: UUID, hint: Hint, data: str | None) -> Return:
    """A return as it is kept."""
    return Return(
        subject_id, attempt_id, hint, hashlib.sha256((data or "").encode(errors="replace")).digest()
    )


async def hear_returns(tx: Tx, returns: Sequence[Return], plan: Plan) -> Verdicts[domain.Intent]:
    """Each return that counts is kept and brings a question at once; the others leave no trace."""
    known = await intents.lock_intents(tx, [one.subject_id for one in returns])
    now = await tx.now()
    commands = [
        domain.PayerReturned(
            one.subject_id, one.attempt_id, now, plan, envelope=_trace(known, one.subject_id)
        )
        for one in returns
    ]
    verdicts = await move_locked(tx, known, commands, domain.hear_return)
    counted = [
        one for one, outcome in zip(returns, verdicts.outcomes, strict=True) if isinstance(outcome, Changed)
    ]
    await evidence.keep(tx, [_evidence(one) for one in counted])
    return verdicts


def _trace(known: dict[UUID, domain.Intent], subject_id: UUID) -> Envelope:
    intent = known.get(subject_id)
    return Envelope(traceparent=intent.traceparent if intent else "")


def _evidence(one: Return) -> Evidence:
    worth = "Signed" if one.hint.evidence_ok else "Unsigned"
    return Evidence(
        one.attempt_id, new_id(), "return", None, one.hint.body, one.sha256, worth, one.hint.detail
    )


async def close_windows(tx: Tx, subject_ids: Sequence[UUID], patience_s: float) -> Verdicts[domain.Intent]:
    """Windows that may be over: ended if their last lookups found nothing, a case if nobody can tell."""
    known = await intents.lock_intents(tx, subject_ids)
    now = await tx.now()
    commands = [
        domain.WindowClosed(key, new_id(), now, patience_s, envelope=_trace(known, key))
        for key in subject_ids
    ]
    return await move_locked(tx, known, commands, domain.close_window)


async def report_unanswered(tx: Tx, subject_ids: Sequence[UUID]) -> Verdicts[domain.Intent]:
    """Money that orders was told of long ago and has not answered becomes a case."""
    return await move(
        tx, [domain.LeftUnanswered(key, new_id()) for key in subject_ids], domain.report_unanswered
    )
