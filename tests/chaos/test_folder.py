"""What a red run leaves behind can be read, whatever was in the topics."""

import json

import pytest
from aiokafka import ConsumerRecord

from tests.chaos.folder import as_line
from tests.chaos.ground import NothingHitError, hit


def a_record(key: bytes | None, value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord(
        topic="order.placed",
        partition=3,
        offset=7,
        timestamp=1,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(("ce_id", b"one"),),
    )


def test_an_event_is_kept_with_its_place_and_its_words() -> None:
    kept = json.loads(json.dumps(as_line(a_record(b"c1", b'{"n": 1}'))))
    assert (kept["topic"], kept["partition"], kept["offset"]) == ("order.placed", 3, 7)
    assert (kept["key"], kept["value"], kept["headers"]) == ("c1", '{"n": 1}', [["ce_id", "one"]])


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"{not json"])
def test_a_record_nobody_can_read_is_kept_too(value: bytes | None) -> None:
    assert json.dumps(as_line(a_record(None, value)))


def test_a_fault_that_hit_nobody_does_not_count() -> None:
    assert hit(1) == 1
    with pytest.raises(NothingHitError):
        hit(0)
