"""What a red run leaves behind can be read, whatever was in the topics."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from infra.audit import Report as Audit
from tests.chaos.folder import as_line, cleared
from tests.chaos.ground import NothingHitError, hit
from tests.chaos.report import Report


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


def a_stack(place: Path) -> Path:
    """What one leaves in its folder."""
    for name in ("logs/orders-0.log", "secrets/issuer.pem", "postgres/data"):
        (place / "stack" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "stack" / name).write_text("said")
    return place


def test_a_run_that_breaks_off_leaves_its_logs_and_no_secret(tmp_path: Path) -> None:
    with pytest.raises(KeyError), cleared(a_stack(tmp_path)):
        raise KeyError
    assert (tmp_path / "logs" / "orders-0.log").read_text() == "said"
    assert not (tmp_path / "stack").exists()


def test_a_run_that_does_not_even_start_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyError), cleared(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("broken", "is_kept"), [((), False), (("a client broke",), True)])
def test_only_the_logs_of_a_red_run_are_kept(
    broken: Sequence[str],
    is_kept: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    with cleared(a_stack(tmp_path)) as left:
        left.found = Report(1, 1.0, [], {}, {}, {}, (), Audit((), (), 0.0), broken)
    assert (tmp_path / "logs").exists() == is_kept
    assert not (tmp_path / "stack").exists()
