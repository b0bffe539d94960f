"""The browser return: where the payer is sent afterwards and what the `data` parameter claims."""

import base64

import orjson

from tests.fakes.esewa.amounts import grouped, java_double
from tests.fakes.esewa.faults import ReturnShape
from tests.fakes.esewa.signing import REQUEST_FIELDS, RETURN_FIELDS, sign
from tests.fakes.esewa.world import MONEY_MOVED, Profile, Session

HONEST = ReturnShape()
CODE_OF_NO_PAYMENT = "0000000"
REORDERED_FIELDS = (*reversed(RETURN_FIELDS[:-1]), RETURN_FIELDS[-1])


def return_url(session: Session, *, key: str, profile: Profile, shape: ReturnShape = HONEST) -> str:
    """The merchant's own URL, with `?data=` glued behind it even when it has a query already."""
    paid = session.status in MONEY_MOVED
    success = shape.to == "success" or (shape.to == "outcome" and paid)
    if not success:
        return session.form.failure_url
    if shape.without_data:
        return session.form.success_url
    return f"{session.form.success_url}?data={_data(session, key=key, profile=profile, shape=shape)}"


def _data(session: Session, *, key: str, profile: Profile, shape: ReturnShape) -> str:
    payload = _reflected(session) if shape.reflected else _signed(session, key, shape)
    pairs = _written(payload | shape.tamper | shape.extra, session, profile, shape)
    if shape.duplicate is not None:
        pairs.append((shape.duplicate, orjson.dumps(payload.get(shape.duplicate, ""))))
    # By hand, because a return may carry one key twice and a number in a double's own spelling.
    text = b"{" + b",".join(orjson.dumps(name) + b":" + value for name, value in pairs) + b"}"
    return base64.b64encode(text).decode()


def _signed(session: Session, key: str, shape: ReturnShape) -> dict[str, str]:
    fields = REORDERED_FIELDS if shape.reordered else RETURN_FIELDS
    payload = {
        "transaction_code": session.ref_id or CODE_OF_NO_PAYMENT,
        "status": "COMPLETE",
        "total_amount": java_double(session.form.amount_paisa),
        "transaction_uuid": session.form.reference,
        "product_code": session.form.product_code,
        "signed_field_names": ",".join(fields),
    }
    return payload | {"signature": sign(payload, fields, shape.sign_with or key)}


def _reflected(session: Session) -> dict[str, str]:
    """The request's own signature, which verifies wherever the payload may name what was signed."""
    return {
        "transaction_code": session.ref_id or CODE_OF_NO_PAYMENT,
        "status": "COMPLETE",
        "total_amount": session.form.total_amount,
        "transaction_uuid": session.form.reference,
        "product_code": session.form.product_code,
        "signed_field_names": ",".join(REQUEST_FIELDS),
        "signature": session.form.signature,
    }


def _written(
    payload: dict[str, str], session: Session, profile: Profile, shape: ReturnShape
) -> list[tuple[str, bytes]]:
    kept = {name: orjson.dumps(value) for name, value in payload.items() if name not in shape.drop}
    if "total_amount" in kept and "total_amount" not in shape.tamper:
        kept["total_amount"] = _amount(payload["total_amount"], session, profile, shape)
    return list(kept.items())


def _amount(text: str, session: Session, profile: Profile, shape: ReturnShape) -> bytes:
    numeric = profile.numeric_amount if shape.numeric_amount is None else shape.numeric_amount
    comma = profile.comma_amounts if shape.comma_amount is None else shape.comma_amount
    if numeric:
        return text.encode()
    return orjson.dumps(grouped(session.form.amount_paisa) if comma else text)
