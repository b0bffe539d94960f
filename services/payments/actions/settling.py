"""Settling: what gateways answered becomes evidence, then charges, then news; one path for all callers."""

import hashlib
import random
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter

from contracts.event import Envelope, Provider
from services.chassis.db import Tx
from services.chassis.decisions import Verdicts
from services.chassis.ids import new_id
from services.payments import domain
from services.payments.actions.story import move_locked
from services.payments.domain.schedule import Plan
from services.payments.providers import Answer
from services.payments.store import evidence, intents
from services.payments.store.evidence import Evidence, Transaction
from services.payments.verdicts import Mismatch, Paid, Unknown, Verdict

LOG = structlog.get_logger("settle")
ANSWERS = Counter("kb_gateway_answers_total", "Lookups by what they came to.", ["provider", "verdict"])
REPLAYED = Counter("kb_gateway_replays_total", "Payments that a gateway named for a second attempt.")


class Seen(NamedTuple):
    """One answer about one attempt; its id will name the observation, and the charge if it proves one."""

    subject_id: UUID
    attempt_id: UUID
    provider: Provider
    answer: Answer
    id: UUID


def seen(subject_id: UUID, attempt_id: UUID, provider: Provider, answer: Answer) -> Seen:
    """An answer with an id of its own."""
    return Seen(subject_id, attempt_id, provider, answer, new_id())


async def settle(tx: Tx, seen: Sequence[Seen], plan: Plan) -> Verdicts[domain.Intent]:
    """Any number of answers at once: locks, evidence, then what the domain makes of each."""
    known = await intents.lock_intents(tx, [one.subject_id for one in seen])
    named = [_transaction(one) for one in seen]
    owners = await evidence.keep(
        tx, [_evidence(one) for one in seen], [payment for payment in named if payment is not None]
    )
    verdicts = _without_replays(seen, named, owners)
    now = await tx.now()
    observations = [
        _observation(one, verdict, known, now, plan) for one, verdict in zip(seen, verdicts, strict=True)
    ]
    answers = Tally((one.provider, type(one.answer.verdict).__name__) for one in seen)
    for labels, times in answers.items():
        ANSWERS.labels(*labels).inc(times)
    return await move_locked(tx, known, observations, domain.settle)


def _observation(
    one: Seen, verdict: Verdict, known: Mapping[UUID, domain.Intent], now: datetime, plan: Plan
) -> domain.Observation:
    intent = known.get(one.subject_id)
    return domain.Observation(
        one.subject_id,
        one.id,
        one.attempt_id,
        verdict,
        now,
        plan=plan,
        luck=random.random(),  # noqa: S311 - jitter, not a secret
        # Whatever made us ask, it goes on in the trace of the checkout.
        envelope=Envelope(traceparent=intent.traceparent if intent else ""),
    )


def _evidence(one: Seen) -> Evidence:
    answer = one.answer
    return Evidence(
        one.attempt_id,
        one.id,
        "lookup",
        answer.http_status,
        answer.body,
        hashlib.sha256(answer.raw).digest(),
        type(answer.verdict).__name__,
        _detail(answer.verdict),
    )


def _detail(verdict: Verdict) -> str | None:
    match verdict:
        case Unknown(text) | Mismatch(text):
            return text
        case _:
            return None


def _transaction(one: Seen) -> Transaction | None:
    match one.answer.verdict:
        case Paid(_, txn_id) | Mismatch(_, _, str() as txn_id):
            return one.provider, txn_id
        case _:
            return None


def _without_replays(
    seen: Sequence[Seen], named: Sequence[Transaction | None], owners: dict[Transaction, UUID]
) -> list[Verdict]:
    """One payment counts for one attempt. What a gateway names a second time is no answer, and an alarm."""
    verdicts: list[Verdict] = []
    for one, payment in zip(seen, named, strict=True):
        owner = one.attempt_id if payment is None else owners.setdefault(payment, one.attempt_id)
        if owner == one.attempt_id:
            verdicts.append(one.answer.verdict)
            continue
        REPLAYED.inc()
        LOG.error(
            "payment named twice", attempt_id=str(one.attempt_id), owner=str(owner), provider=one.provider
        )
        verdicts.append(Unknown("this payment was counted for another attempt"))
    return verdicts
