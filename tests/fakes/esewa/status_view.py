"""The status check: the truth about one payment, or what a fault makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import orjson

from tests.fakes.esewa.amounts import java_double, paisa
from tests.fakes.esewa.carriage import Answer, json_answer
from tests.fakes.esewa.faults import (
    FaultBook,
    Lag,
    MissingRefId,
    Move,
    OtherProductCode,
    OtherStatus,
    OtherUuid,
    StatusFault,
    WrongAmount,
)
from tests.fakes.esewa.world import MONEY_MOVED, Session, Status, World

WORDS = {
    Status.OPEN: "NOT_FOUND",
    Status.LEFT: "PENDING",
    Status.CANCELED: "CANCELED",
    Status.PAID: "COMPLETE",
    Status.REVERSED: "CANCELED",
    Status.REFUNDED: "FULL_REFUND",
    Status.PARTIALLY_REFUNDED: "PARTIAL_REFUND",
}
WORDS_WITHOUT_REF_ID = frozenset({"NOT_FOUND", "PENDING"})
LEGACY_NAMES = {
    "transaction_uuid": "pid",
    "product_code": "scd",
    "total_amount": "totalAmount",
    "status": "status",
    "ref_id": "refId",
}


@dataclass(frozen=True, slots=True)
class View:
    product_code: str
    transaction_uuid: str
    amount_paisa: int
    status: str
    ref_id: str | None
    ref_id_absent: bool = False


def answer(world: World, faults: FaultBook, query: Mapping[str, str]) -> Answer:
    missing = [name for name in ("product_code", "total_amount", "transaction_uuid") if not query.get(name)]
    if missing:
        return _error(f"Missing parameter: {', '.join(missing)}.")
    if query["product_code"] != world.product_code:
        return _error("Unable to fetch merchant key...")
    session = _asked_about(world, query)
    reference, paid = query["transaction_uuid"], session is not None and session.status in MONEY_MOVED
    fault = faults.status_fault(reference, paid=paid)
    if fault is None:
        return _render(_truth(world, session, query), world)
    return _render(_bent(world, session, query, *fault), world)


def _error(message: str) -> Answer:
    return json_answer({"code": 0, "error_message": message}, 400)


def _asked_about(world: World, query: Mapping[str, str]) -> Session | None:
    session = world.by_reference.get(query["transaction_uuid"])
    if session is None or not world.profile.wrong_amount_not_found:
        return session
    return session if paisa(query["total_amount"]) == session.form.amount_paisa else None


def _truth(world: World, session: Session | None, query: Mapping[str, str]) -> View:
    asked_paisa = paisa(query["total_amount"]) or 0
    if session is None:
        return View(query["product_code"], query["transaction_uuid"], asked_paisa, "NOT_FOUND", None)
    form = session.form
    word = "NOT_FOUND" if world.is_over(session) else WORDS[session.status]
    return _saying(View(form.product_code, form.reference, form.amount_paisa, word, session.ref_id), word)


def _saying(view: View, word: str) -> View:
    return replace(view, status=word, ref_id=None if word in WORDS_WITHOUT_REF_ID else view.ref_id)


def _bent(
    world: World, session: Session | None, query: Mapping[str, str], fault: StatusFault, poll: int
) -> View:
    if isinstance(fault, Move) and session is not None and poll == fault.last_poll:
        world.move(session, Status(fault.to))
        return _truth(world, session, query)
    return _bent_view(_truth(world, session, query), fault)


def _bent_view(view: View, fault: StatusFault) -> View:
    match fault:
        case WrongAmount():
            return replace(view, amount_paisa=max(0, view.amount_paisa + fault.delta_paisa))
        case OtherProductCode():
            return replace(view, product_code=fault.value)
        case OtherUuid():
            return replace(view, transaction_uuid=fault.value)
        case MissingRefId():
            missing = "" if fault.how == "empty" else None
            return replace(view, ref_id=missing, ref_id_absent=fault.how == "absent")
        case OtherStatus() | Lag() | Move():
            return _saying(view, fault.showing or view.status)
        case _:
            assert_never(fault)


def _render(view: View, world: World) -> Answer:
    shown: dict[str, object] = {
        "product_code": view.product_code,
        "transaction_uuid": view.transaction_uuid,
        # A JSON number in the spelling of a Java double, which no JSON library would choose.
        "total_amount": orjson.Fragment(java_double(view.amount_paisa)),
        "status": view.status,
        "ref_id": view.ref_id,
    }
    if view.ref_id_absent:
        del shown["ref_id"]
    if world.profile.legacy_status_shape:
        shown = {LEGACY_NAMES[name]: value for name, value in shown.items()}
    return json_answer(shown)
