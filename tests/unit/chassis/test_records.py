"""Whatever bytes arrive, reading them gives an event or a named reason, never an exception."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.event import Event
from contracts.payments import PaymentReturned
from services.chassis.ids import DAY_MS, millis_of, new_id
from services.chassis.records import Foreign, Heard, Malformed, Record, read
from tests.support.records import headers_of

ORDER = uuid4()
EVENT = PaymentReturned(subject_id=ORDER, intent_id=uuid4(), attempt_id=uuid4(), provider="esewa")
ID = new_id()
NOW_MS = millis_of(ID)
GOOD = Record(
    "payment.returned", 3, 17, str(ORDER), EVENT.model_dump_json().encode(), headers_of(EVENT, 7, ID)
)


def reason_of(record: Record, event_class: type[Event] = PaymentReturned, now_ms: int = NOW_MS) -> str:
    found = read(record, event_class, now_ms)
    assert isinstance(found, Malformed), found
    return found.reason


def with_header(**changed: str) -> Record:
    return GOOD._replace(headers=dict(GOOD.headers) | changed)


def without_header(name: str) -> Record:
    return GOOD._replace(headers={key: value for key, value in GOOD.headers.items() if key != name})


def test_a_good_record_is_heard_with_its_envelope() -> None:
    found = read(GOOD, PaymentReturned, NOW_MS)
    assert isinstance(found, Heard)
    assert found.event == EVENT.within(found.event.envelope)
    assert (found.event_id, found.event.envelope.sequence) == (ID, 7)
    assert found.event.envelope.correlation_id == ORDER


def test_another_kind_of_subject_is_not_our_business() -> None:
    assert isinstance(read(with_header(ce_subjectkind="booking"), PaymentReturned, NOW_MS), Foreign)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (without_header("ce_id"), "INVALID_ENVELOPE"),
        (with_header(ce_id="not-a-uuid"), "INVALID_ENVELOPE"),
        (with_header(ce_id=str(uuid4())), "INVALID_ENVELOPE"),
        (without_header("ce_type"), "UNKNOWN_TYPE"),
        (with_header(ce_type="np.kbstylish.payment.returned.v2"), "UNKNOWN_TYPE"),
        (without_header("ce_sequence"), "INVALID_ENVELOPE"),
        (with_header(ce_sequence="-1"), "INVALID_ENVELOPE"),
        (with_header(ce_sequence="\u0967"), "INVALID_ENVELOPE"),  # a Devanagari one
        (with_header(ce_sequence="9" * 21), "INVALID_ENVELOPE"),
        (with_header(ce_sequence=str(2**63)), "INVALID_ENVELOPE"),  # no column holds it
        (GOOD._replace(headers={}), "INVALID_ENVELOPE"),
        (GOOD._replace(value=None), "NULL_VALUE"),
        (GOOD._replace(value=b""), "INVALID_BODY"),
        (GOOD._replace(value=b"not json"), "INVALID_BODY"),
        (GOOD._replace(value=b"[]"), "INVALID_BODY"),
        (GOOD._replace(value=b'{"subject_id": "\xff\xfe"}'), "INVALID_BODY"),
        (GOOD._replace(value=EVENT.model_dump_json(exclude={"intent_id"}).encode()), "INVALID_BODY"),
        (GOOD._replace(key=str(uuid4())), "KEY_MISMATCH"),
        (GOOD._replace(key=""), "KEY_MISMATCH"),
    ],
)
def test_a_record_that_cannot_be_read_says_why(record: Record, reason: str) -> None:
    assert reason_of(record) == reason


@pytest.mark.parametrize("age_ms", [39 * DAY_MS, -2 * DAY_MS])
def test_an_id_whose_inbox_slot_is_not_its_own_is_not_guessed_about(age_ms: int) -> None:
    assert reason_of(GOOD, now_ms=NOW_MS + age_ms) == "OUTSIDE_RING"


def test_the_reason_names_the_field_and_not_its_value() -> None:
    found = read(GOOD._replace(value=b'{"subject_id": "secret value"}'), PaymentReturned, NOW_MS)
    assert isinstance(found, Malformed)
    assert "subject_id" in found.detail
    assert "secret value" not in found.detail


@given(
    value=st.none() | st.binary(max_size=200),
    key=st.text(max_size=40),
    headers=st.dictionaries(st.sampled_from(sorted(GOOD.headers)), st.text(max_size=60), max_size=9),
)
def test_any_bytes_end_in_an_answer(value: bytes | None, key: str, headers: dict[str, str]) -> None:
    record = Record("payment.returned", 0, 0, key, value, dict(GOOD.headers) | headers)
    assert isinstance(read(record, PaymentReturned, NOW_MS), Heard | Malformed | Foreign)


def test_reading_tolerates_fields_it_does_not_know() -> None:
    value = EVENT.model_dump_json().encode()[:-1] + b', "newer": true}'
    assert isinstance(read(GOOD._replace(value=value), PaymentReturned, NOW_MS), Heard)


def test_a_number_as_text_is_no_uuid_and_no_event() -> None:
    assert UUID(int=0).version is None
    assert reason_of(with_header(ce_id=str(UUID(int=0)))) == "INVALID_ENVELOPE"
