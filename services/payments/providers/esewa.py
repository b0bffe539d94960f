"""eSewa ePay v2: the signed form, the browser's return, and the server-side lookup that proves money."""

import asyncio
import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import aiohttp

from contracts.event import Provider
from services.payments.providers import Answer, Asked, Capabilities, FormPost, Hint
from services.payments.settings import PaymentsSettings
from services.payments.verdicts import (
    Declined,
    Hold,
    InFlight,
    Mismatch,
    NotSeen,
    Paid,
    PartiallyRefunded,
    Refunded,
    Unknown,
    Verdict,
)

REQUEST_FIELDS: Final = ("total_amount", "transaction_uuid", "product_code")
RETURN_FIELDS: Final = (
    "transaction_code",
    "status",
    "total_amount",
    "transaction_uuid",
    "product_code",
    "signed_field_names",
)
# Current and older names of one answer; an answer that mixes them is none.
SHAPES: Final = (
    {
        "merchant": "product_code",
        "reference": "transaction_uuid",
        "amount": "total_amount",
        "txn_id": "ref_id",
    },
    {"merchant": "scd", "reference": "pid", "amount": "totalAmount", "txn_id": "refId"},
)
KEPT: Final = frozenset({name for shape in SHAPES for name in shape.values()}) | {
    "status",
    "transaction_code",
}

MOST_RETURN: Final = 4096
MOST_ANSWER: Final = 65_536
MOST_KEPT: Final = 200
MOST_STORED: Final = 4000
HTTP_OK: Final = 200
MOST_PAISA: Final = 99_999_999_999

# [0-9] and fullmatch: \d takes Devanagari digits, $ takes a trailing newline.
AMOUNT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
GROUPED: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]{1,2})?")
TXN_ID: Final = re.compile(r"[!-~]{1,100}")


class MalformedError(ValueError):
    """Not the JSON object we can read; the message says why."""


# -- money and signatures


def rupees(paisa: int) -> str:
    """The text eSewa signs: whole rupees, or exactly two decimals."""
    whole, rest = divmod(paisa, 100)
    return f"{whole}.{rest:02}" if rest else str(whole)


def paisa(text: str) -> int | None:
    """Integer paisa of a rupee text, None if it is not a plain amount of at most two decimals."""
    plain = text.replace(",", "") if GROUPED.fullmatch(text) else text
    return int(Decimal(plain) * 100) if AMOUNT.fullmatch(plain) else None


def signature(key: str, values: Mapping[str, str], fields: tuple[str, ...]) -> str:
    """Base64 of the HMAC-SHA256 over `name=value` pairs, joined by commas in the order of `fields`."""
    message = ",".join(f"{name}={values[name]}" for name in fields)
    return base64.b64encode(hmac.digest(key.encode(), message.encode(), "sha256")).decode()


# -- reading what was sent


def _text(number: str) -> str:
    return number  # a number keeps the text it was written with: a float would change it


def _refuse(constant: str) -> str:
    raise MalformedError(f"{constant} is not a number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedError("a key comes twice")
    return fields


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object whose numbers are text; raises MalformedError for everything else."""
    try:
        read = json.loads(
            data.decode("utf-8"),
            parse_float=_text,
            parse_int=_text,
            parse_constant=_refuse,
            object_pairs_hook=_object,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MalformedError(type(error).__name__) from error
    if not isinstance(read, dict):
        raise MalformedError("not an object")
    return read


def redacted(fields: Mapping[str, Any]) -> str:
    """What may be kept of a message: the fields we know, cut to a sane length; no signature, no person."""
    kept = {name: str(value)[:MOST_KEPT] for name, value in fields.items() if name in KEPT}
    # Escaped, because a database takes neither NUL nor half a surrogate pair; cut, because escaping swells.
    return json.dumps(kept)[:MOST_STORED]


# -- the browser's return


def read_return(asked: Asked, data: str, key: str) -> dict[str, str]:
    """The seven fields of a return that was really signed for this attempt; raises MalformedError.

    The list of signed fields is pinned: request and return share key and scheme, so whoever signs "what the
    payload lists" accepts the signature of our own form, which is in the payer's browser.
    """
    fields = _seven_strings(read_object(_decoded(data)))
    if fields["signed_field_names"] != ",".join(RETURN_FIELDS):
        raise MalformedError("not the fields that must be signed")
    if not _is_signed(fields, key):
        raise MalformedError("signature does not fit")
    if fields["product_code"] != asked.merchant_code:
        raise MalformedError("another merchant")
    if fields["transaction_uuid"] != asked.reference:
        raise MalformedError("another attempt")
    if paisa(fields["total_amount"]) != asked.amount_paisa:
        raise MalformedError("another amount")
    return fields


def _decoded(data: str) -> bytes:
    if len(data) > MOST_RETURN:
        raise MalformedError("too long")
    repaired = data.replace(" ", "+").rstrip("=")
    try:
        return base64.b64decode(repaired + "=" * (-len(repaired) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("not base64") from error


def _seven_strings(fields: dict[str, Any]) -> dict[str, str]:
    if fields.keys() != {*RETURN_FIELDS, "signature"}:
        raise MalformedError("not the seven keys of a return")
    if not all(isinstance(value, str) for value in fields.values()):
        raise MalformedError("a value is not text")
    return fields


def _is_signed(fields: dict[str, str], key: str) -> bool:
    """As sent or, since some payloads carry a thousands comma that was not signed, without the commas."""
    amount = fields["total_amount"]
    spellings = {amount, amount.replace(",", "")} if GROUPED.fullmatch(amount) else {amount}
    expected = [signature(key, fields | {"total_amount": one}, RETURN_FIELDS) for one in spellings]
    given = fields["signature"].encode(errors="replace")
    return any(hmac.compare_digest(one.encode(), given) for one in expected)


# -- the gateway's answer


STATUSES: Final[dict[str, Verdict]] = {
    "PENDING": InFlight(),
    "AMBIGUOUS": Hold(),
    "NOT_FOUND": NotSeen(),
    "CANCELED": Declined(),
    "FULL_REFUND": Refunded(),
    "PARTIAL_REFUND": PartiallyRefunded(),
}


def verdict_of(asked: Asked, http_status: int, body: bytes) -> tuple[Verdict, str]:
    """What an answer comes to, and what is kept of it. Total: any bytes are some verdict."""
    if http_status != HTTP_OK:
        return Unknown(f"HTTP {http_status}"), ""
    try:
        fields = read_object(body)
    except MalformedError as error:
        return Unknown(f"unreadable: {error}"), ""
    return _judge(asked, fields), redacted(fields)


def _judge(asked: Asked, fields: dict[str, Any]) -> Verdict:
    shapes = [shape for shape in SHAPES if fields.keys() & set(shape.values())]
    status = fields.get("status")
    if len(shapes) != 1 or not isinstance(status, str):
        return Unknown("not the shape of an answer")
    said = {name: fields.get(key) for name, key in shapes[0].items()}
    foreign = [
        name
        for name, ours in (("merchant", asked.merchant_code), ("reference", asked.reference))
        if said[name] != ours
    ]
    if status == "COMPLETE":
        return Mismatch(f"another {foreign[0]}") if foreign else _paid(asked, said)
    if foreign:
        return Unknown(f"an answer about another {foreign[0]}")
    return STATUSES.get(status, Unknown("a status nobody has published"))


def _paid(asked: Asked, said: dict[str, Any]) -> Verdict:
    txn_id, amount = said["txn_id"], said["amount"]
    if not isinstance(txn_id, str) or not TXN_ID.fullmatch(txn_id):
        return Unknown("paid, but without the gateway's own id")
    amount_paisa = paisa(amount) if isinstance(amount, str) else None
    if amount_paisa is None or amount_paisa == 0:
        return Unknown("paid, but no amount we can read")
    if amount_paisa != asked.amount_paisa:
        detail = f"paid {amount_paisa} paisa instead of {asked.amount_paisa}"
        return Mismatch(detail, amount_paisa, txn_id)
    return Paid(amount_paisa, txn_id)


class Esewa:
    """The adapter: pure but for `check`, which asks one pinned address and follows nobody elsewhere."""

    provider: Provider = "esewa"

    def __init__(self, settings: PaymentsSettings) -> None:
        self.merchant_code = settings.esewa_merchant
        self.form_url = settings.esewa_form_url
        self.status_url = settings.esewa_status_url
        self.return_url = f"{settings.public_url.rstrip('/')}/v1/payments/return/esewa"
        self.key = settings.esewa_key
        self.answer_s = settings.gateway_answer_s
        self.capabilities = Capabilities(settings.esewa_ttl_s, MOST_PAISA, refunds="manual")
        self.connect_s = settings.gateway_connect_s
        self._session: aiohttp.ClientSession | None = None

    def open(self, asked: Asked) -> FormPost:
        """The signed form; its way back names the attempt in the path, as eSewa appends `?data=` blindly."""
        total, back = rupees(asked.amount_paisa), f"{self.return_url}/{asked.reference}"
        fields = {
            "amount": total,
            "tax_amount": "0",
            "product_service_charge": "0",
            "product_delivery_charge": "0",
            "total_amount": total,
            "transaction_uuid": asked.reference,
            "product_code": asked.merchant_code,
            "success_url": back,
            "failure_url": back,
            "signed_field_names": ",".join(REQUEST_FIELDS),
        }
        signed = signature(self.key.get_secret_value(), fields, REQUEST_FIELDS)
        return FormPost(self.form_url, fields | {"signature": signed})

    def parse_return(self, asked: Asked, data: str | None) -> Hint:
        """A failure brings no data and proves nothing; a success proves only that the payer was there."""
        if data is None:
            return Hint(evidence_ok=False, body="", detail="no data")
        try:
            fields = read_return(asked, data, self.key.get_secret_value())
        except MalformedError as error:
            return Hint(evidence_ok=False, body="", detail=str(error))
        return Hint(evidence_ok=True, body=redacted(fields))

    async def check(self, asked: Asked) -> Answer:
        """Ask with our stored values; no answer in time is an UNKNOWN like any other."""
        try:
            async with asyncio.timeout(self.answer_s):
                http_status, raw = await self._ask(asked)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(Unknown(f"no answer: {type(error).__name__}"), None, "", b"")
        if raw is None:
            return Answer(Unknown("the answer is too long"), http_status, "", b"")
        verdict, kept = verdict_of(asked, http_status, raw)
        return Answer(verdict, http_status, kept, raw)

    async def _ask(self, asked: Asked) -> tuple[int, bytes | None]:
        query = {
            "product_code": asked.merchant_code,
            "total_amount": rupees(asked.amount_paisa),
            "transaction_uuid": asked.reference,
        }
        try:
            return await self._get(query)
        except aiohttp.ClientConnectorError:
            return await self._get(query)  # nothing was asked yet

    async def _get(self, query: Mapping[str, str]) -> tuple[int, bytes | None]:
        session = self._session = self._session or _open_session(self.connect_s)
        async with session.get(self.status_url, params=query, allow_redirects=False) as response:
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MOST_ANSWER:
                    return response.status, None
            return response.status, body

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _open_session(connect_s: float) -> aiohttp.ClientSession:
    """No proxy of the environment may see, or answer, for the gateway; `check` says how long it may take."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=64),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a small packet may hold a huge text
        trust_env=False,
    )
