"""eSewa's adapter against published vectors, hostile returns and any bytes a gateway might answer."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payments.providers import Asked
from services.payments.providers.esewa import (
    MOST_RETURN,
    REQUEST_FIELDS,
    Esewa,
    MalformedError,
    paisa,
    read_return,
    rupees,
    signature,
    verdict_of,
)
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
from tests.unit.payments.vectors import FORMS, FULL_DATA, KEY, RETURNS, payload, signed, wire

ASKED = Asked("kbs-0002-a1", "EPAYTEST", 349_00)
GENUINE = payload("0009TST", "COMPLETE", "349.0", "kbs-0002-a1", RETURNS[1][5])


@pytest.mark.parametrize(("amount", "reference", "expected"), FORMS)
def test_a_request_is_signed_as_published(amount: str, reference: str, expected: str) -> None:
    values = {"total_amount": amount, "transaction_uuid": reference, "product_code": "EPAYTEST"}
    assert signature(KEY, values, REQUEST_FIELDS) == expected


@pytest.mark.parametrize(("code", "status", "amount", "amount_paisa", "reference", "sign"), RETURNS)
def test_a_genuine_return_is_accepted(
    code: str, status: str, amount: str, amount_paisa: int, reference: str, sign: str
) -> None:
    asked = Asked(reference, "EPAYTEST", amount_paisa)
    assert read_return(asked, wire(payload(code, status, amount, reference, sign)), KEY)["status"] == status


def test_the_published_return_is_accepted_byte_for_byte() -> None:
    assert read_return(ASKED, FULL_DATA, KEY) == GENUINE
    assert read_return(ASKED, FULL_DATA.rstrip("="), KEY) == GENUINE


def _with(**changes: object) -> dict[str, Any]:
    return GENUINE | changes


def _reflected() -> dict[str, str]:
    """What the payer can make of our own form: its signature, and the list that it covers."""
    form = {"total_amount": "349", "transaction_uuid": "kbs-0002-a1", "product_code": "EPAYTEST"}
    return _with(
        total_amount="349",
        signed_field_names=",".join(REQUEST_FIELDS),
        signature=signature(KEY, form, REQUEST_FIELDS),
    )


HOSTILE: dict[str, str] = {
    "reflected request signature": wire(_reflected()),
    "reflected signature under the pinned list": wire(
        _reflected() | {"signed_field_names": GENUINE["signed_field_names"]}
    ),
    "another code": wire(_with(transaction_code="0009TSX")),
    "another status": wire(_with(status="PENDING")),
    "another amount": wire(_with(total_amount="3490.0")),
    "another reference": wire(_with(transaction_uuid="kbs-0003-a1")),
    "another merchant": wire(_with(product_code="EPAYLIVE")),
    "genuine return of a cheaper payment": wire(
        payload("0009TSU", "COMPLETE", "147.5", "kbs-0003-a1", RETURNS[2][5])
    ),
    "signed for another attempt": wire(signed(_with(transaction_uuid="kbs-0009-a1"))),
    "signed for another merchant": wire(signed(_with(product_code="OTHER"))),
    "signed for another amount": wire(signed(_with(total_amount="348.0"))),
    "signed with another key": wire(signed(GENUINE, "guessed")),
    "reordered list": wire(
        signed(_with(signed_field_names=",".join(reversed(GENUINE["signed_field_names"].split(",")))))
    ),
    "an extra key": wire(_with(extra="1")),
    "a missing key": wire({name: value for name, value in GENUINE.items() if name != "status"}),
    "a key twice": wire(json.dumps(GENUINE)[:-1] + ',"status":"COMPLETE"}'),
    "a null": wire(_with(status=None)),
    "a boolean": wire(_with(status=True)),
    "a list": wire(_with(status=["COMPLETE"])),
    "an array": wire([GENUINE]),
    "a text": wire('"COMPLETE"'),
    "empty signature": wire(_with(signature="")),
    "not ascii signature": wire(_with(signature="é" * 44)),
    "not base64": "%%%%",
    "base64 of nothing": "",
    "not JSON": wire("{"),
    "NaN": wire(json.dumps(GENUINE).replace('"349.0"', "NaN")),
    "not UTF-8": base64.b64encode(b"\xff\xfe").decode(),
    "deep": wire("[" * 2000),
    "too long": "A" * (MOST_RETURN + 1),
    "urlsafe alphabet": "-_-_",
    **{
        f"amount {text!r}": wire(signed(_with(total_amount=text)))
        for text in (
            "1,0.0",
            "1e3",
            "٣٤٩",
            "३४९",
            "349.0\n",
            "349.000",
            "-349",
            "NaN",
            " 349",
            "349.",
            ".5",
            "3,49.0",
            "",
        )
    },
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_return_is_refused(data: str) -> None:
    with pytest.raises(MalformedError):
        read_return(ASKED, data, KEY)


def test_a_numeric_amount_keeps_its_text() -> None:
    text = json.dumps(signed(GENUINE)).replace('"349.0"', "349.0")
    assert read_return(ASKED, wire(text), KEY)["total_amount"] == "349.0"


def test_spaces_in_a_return_are_pluses_that_a_form_decoder_took() -> None:
    odd = Asked("kbs-0002-a1", "EPAYTEST", 349_00)
    data = next(
        text for code in range(2000) if "+" in (text := wire(signed(_with(transaction_code=f">>>{code}~~~"))))
    )
    assert read_return(odd, data.replace("+", " "), KEY)["product_code"] == "EPAYTEST"


@given(st.integers(1, 99_999_999_999))
def test_rupees_and_paisa_are_each_others_inverse(amount: int) -> None:
    assert paisa(rupees(amount)) == amount


@pytest.mark.parametrize(
    ("text", "expected"),
    [("110", 11000), ("110.0", 11000), ("147.5", 14750), ("0.29", 29), ("1,500.05", 150005), ("12,34", None),
     ("1e3", None), ("147.505", None), ("-1", None), ("\u0661", None), ("", None), ("1.0E7", None)],
)  # fmt: skip
def test_an_amount_is_a_plain_decimal_or_nothing(text: str, expected: int | None) -> None:
    assert paisa(text) == expected


# -- the lookup


def _said(**changes: object) -> bytes:
    answer: dict[str, Any] = {
        "product_code": "EPAYTEST",
        "transaction_uuid": "kbs-0002-a1",
        "total_amount": 349.0,
        "status": "COMPLETE",
        "ref_id": "0009TST",
    }
    return json.dumps({name: value for name, value in (answer | changes).items() if value != "-"}).encode()


LEGACY = {
    "pid": "kbs-0002-a1",
    "scd": "EPAYTEST",
    "totalAmount": "349.0",
    "status": "COMPLETE",
    "refId": "0009TST",
}
ANSWERS: dict[str, tuple[bytes, Verdict | type]] = {
    "paid": (_said(), Paid(349_00, "0009TST")),
    "paid, amount as text": (_said(total_amount="349.00"), Paid(349_00, "0009TST")),
    "paid, older shape": (json.dumps(LEGACY).encode(), Paid(349_00, "0009TST")),
    "pending": (_said(status="PENDING", ref_id=None), InFlight()),
    "ambiguous": (_said(status="AMBIGUOUS"), Hold()),
    "not found": (_said(status="NOT_FOUND", ref_id=None), NotSeen()),
    "cancelled": (_said(status="CANCELED"), Declined()),
    "refunded": (_said(status="FULL_REFUND"), Refunded()),
    "partly refunded": (_said(status="PARTIAL_REFUND"), PartiallyRefunded()),
    "less": (_said(total_amount=348.99), Mismatch("paid 34899 paisa instead of 34900", 348_99, "0009TST")),
    "more": (_said(total_amount=3490.0), Mismatch("paid 349000 paisa instead of 34900", 3490_00, "0009TST")),
    "another merchant": (_said(product_code="OTHER"), Mismatch("another merchant")),
    "another reference": (_said(transaction_uuid="x"), Mismatch("another reference")),
    "no ref_id": (_said(ref_id=None), Unknown),
    "empty ref_id": (_said(ref_id=""), Unknown),
    "absent ref_id": (_said(ref_id="-"), Unknown),
    "amount nobody can read": (_said(total_amount="many"), Unknown),
    "amount zero": (_said(total_amount=0), Unknown),
    "exponent": (_said().replace(b"349.0", b"3.49e2"), Unknown),
    "wrong case": (_said(status="complete"), Unknown),
    "unlisted": (_said(status="DONE"), Unknown),
    "no status": (_said(status="-"), Unknown),
    "pending of another": (_said(status="PENDING", transaction_uuid="x"), Unknown),
    "mixed shapes": (json.dumps(json.loads(_said()) | LEGACY).encode(), Unknown),
    "error": (b'{"code":0,"error_message":"Service is currently unavailable"}', Unknown),
    "html": (b"<html>403</html>", Unknown),
    "empty": (b"", Unknown),
    "truncated": (_said()[:-5], Unknown),
    "array": (b"[]", Unknown),
    "a key twice": (_said()[:-1] + b',"status":"COMPLETE"}', Unknown),
    "deep": (b"[" * 60_000, Unknown),
    "big number": (b'{"status":' + b"9" * 60_000 + b"}", Unknown),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_every_answer_is_one_verdict(body: bytes, expected: Verdict | type) -> None:
    verdict, _ = verdict_of(ASKED, 200, body)
    assert isinstance(verdict, expected) if isinstance(expected, type) else verdict == expected


@pytest.mark.parametrize("status", [100, 201, 204, 301, 302, 400, 403, 404, 429, 500, 503])
def test_only_200_can_prove_money(status: int) -> None:
    assert isinstance(verdict_of(ASKED, status, _said())[0], Unknown)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
fields = st.sampled_from(
    ["product_code", "transaction_uuid", "total_amount", "status", "ref_id", "pid", "scd"]
)
near_misses = st.dictionaries(
    fields, json_values | st.sampled_from(["COMPLETE", "EPAYTEST", "kbs-0002-a1", 349.0])
)


@given(st.integers(100, 599), st.binary() | near_misses.map(lambda said: json.dumps(said).encode()))
def test_any_bytes_are_a_verdict_and_never_money_unless_everything_agrees(status: int, body: bytes) -> None:
    verdict, kept = verdict_of(ASKED, status, body)
    assert len(kept) <= 4096
    if isinstance(verdict, Paid):
        said = json.loads(body)
        assert (status, said["status"], said["product_code"]) == (200, "COMPLETE", "EPAYTEST")
        assert said["transaction_uuid"] == "kbs-0002-a1"
        assert said["ref_id"]


def test_what_is_kept_fits_its_column_and_no_byte_of_it_upsets_the_database() -> None:
    swollen = dict.fromkeys(("ref_id", "status", "pid", "scd", "totalAmount"), "\x00�" + "😀" * 500)
    _, kept = verdict_of(ASKED, 200, json.dumps(swollen).encode())
    assert 0 < len(kept) <= 4096
    assert kept.isascii()


@given(near_misses)
def test_what_is_kept_holds_only_fields_we_know(said: dict[str, Any]) -> None:
    _, kept = verdict_of(
        ASKED, 200, json.dumps(said | {"mobile": "9800000001", "signature": "s3cret"}).encode()
    )
    assert "9800000001" not in kept
    assert "s3cret" not in kept


# -- the adapter


def _adapter() -> Esewa:
    return Esewa(PaymentsSettings(database_url="postgresql://", public_url="https://shop.test/"))


def test_the_form_says_what_is_signed_and_leads_back_without_a_query() -> None:
    form = _adapter().open(Asked("a" * 32, "EPAYTEST", 147_50))
    assert form.fields["signature"] == signature(KEY, form.fields, REQUEST_FIELDS)
    assert form.fields["total_amount"] == form.fields["amount"] == "147.50"
    assert form.fields["success_url"] == f"https://shop.test/v1/payments/return/esewa/{'a' * 32}"
    assert "?" not in form.fields["failure_url"]


def test_a_return_is_a_hint_with_evidence_or_without() -> None:
    adapter = _adapter()
    assert adapter.parse_return(ASKED, FULL_DATA).evidence_ok
    assert not adapter.parse_return(ASKED, None).evidence_ok
    assert adapter.parse_return(ASKED, "x").detail
    assert "2Br4YQ" not in adapter.parse_return(ASKED, FULL_DATA).body


LIVE = {
    "environment": "production",
    "public_url": "https://shop.test",
    "esewa_merchant": "KBSTYLISH",
    "esewa_key": "issued",
    "esewa_form_url": "https://epay.esewa.com.np/form",
    "esewa_status_url": "https://epay.esewa.com.np/status/",
}


def test_production_starts_with_issued_credentials() -> None:
    assert PaymentsSettings(database_url="postgresql://", **LIVE).environment == "production"  # type: ignore[arg-type]


def test_a_refusal_to_start_does_not_print_the_key() -> None:
    with pytest.raises(ValueError, match="production") as refused:
        PaymentsSettings(database_url="postgresql://", **(LIVE | {"public_url": "http://x"}))  # type: ignore[arg-type]
    assert "issued" not in str(refused.value)


@pytest.mark.parametrize(
    "mistake",
    [
        {"esewa_merchant": "EPAYTEST"},
        {"esewa_key": KEY},
        {"esewa_key": ""},
        {"esewa_form_url": "http://epay.esewa.com.np/form"},
        {"esewa_status_url": "http://epay.esewa.com.np/status/"},
        {"esewa_status_url": "https://rc.esewa.com.np/api/epay/transaction/status/"},
        {"esewa_status_url": "https://esewa.com.np.evil.test/status/"},
        {"public_url": "http://shop.test"},
        {"public_url": "https://shop.test?next=x"},
    ],
    ids=str,
)
def test_production_refuses_to_start_with_test_credentials_or_without_https(mistake: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"production|KB_PUBLIC_URL"):
        PaymentsSettings(database_url="postgresql://", **(LIVE | mistake))  # type: ignore[arg-type]
