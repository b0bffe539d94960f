"""A trace is recorded when its flag says so, whatever else the flags say."""

import pytest

from services.chassis.send_span import sampled_contexts
from services.chassis.telemetry import is_sampled, links_to

CONTEXT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


@pytest.mark.parametrize(("flags", "recorded"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_the_last_flag_bit_says_whether_a_trace_is_recorded(flags: str, *, recorded: bool) -> None:
    """Bit 1 only says that the id is random; the SDK sets it."""
    traceparent = CONTEXT + flags
    assert is_sampled(traceparent) is recorded
    assert len(links_to([traceparent])) == recorded
    assert sampled_contexts([traceparent, None]) == [traceparent] * recorded


def test_no_context_is_not_recorded() -> None:
    assert not is_sampled("")
