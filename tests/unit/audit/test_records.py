"""Any bytes become a record; copies are compared with what came first."""

from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from infra.audit.records import Log, Record, digest_of, read

ID = UUID("01890000-0000-7000-8000-000000000001")


@dataclass(frozen=True, slots=True)
class Raw:
    """What the Kafka client hands over."""

    key: bytes | None = b"k"
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes | None], ...] = (("ce_id", str(ID).encode()),)
    partition: int = 0
    offset: int = 0
    timestamp: int = field(default=0)


BYTES = st.none() | st.binary()
NAMES = st.sampled_from(["ce_id", "ce_sequence", "ce_type", "ce_correlationid", "ce_causationid"]) | st.text()


@given(st.builds(Raw, key=BYTES, value=BYTES, headers=st.lists(st.tuples(NAMES, BYTES)).map(tuple)))
def test_nothing_a_stranger_sends_makes_the_reader_fall_over(raw: Raw) -> None:
    found = read(raw, "payment.verified")
    assert found.digest == digest_of(raw.value)
    assert (found.key is None) == (raw.key is None)


def test_a_body_is_asked_for_the_few_fields_a_promise_needs() -> None:
    body = b'{"payment_id": "p", "amount_paisa": 5, "more": 1}'
    assert read(Raw(value=body), "payment.verified").facts == ("p", 5)
    assert read(Raw(value=b"[]"), "payment.verified").facts == (None, None)
    assert read(Raw(value=body), "order.state").facts == ()


def test_a_copy_is_counted_and_anything_else_of_its_id_is_kept_beside_it() -> None:
    log = Log()
    records = [Raw(), Raw(offset=1), Raw(offset=2, value=b"other"), Raw(offset=3, partition=1)]
    for raw in [*records, Raw(headers=())]:
        log.keep(_read(raw))
    assert (log.records, log.copies, len(log.first)) == (5, 3, 1)
    assert [other.offset for _, other in log.differing] == [2, 3]
    assert [one.id for one in log.strangers] == [None]


def _read(raw: Raw) -> Record:
    return read(raw, "order.placed")
