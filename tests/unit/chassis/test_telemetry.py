"""A trace is recorded when its flag says so, whatever else it says and whatever share a service records."""

import pytest
from opentelemetry.context import Context

from services.chassis.send_span import sampled_contexts
from services.chassis.telemetry import context_of, is_sampled, links_to, sampler_of

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


def chosen(ratio: float, parent: Context) -> list[bool]:
    """Of a thousand traces, whether a service that records this share records each."""
    sampler = sampler_of(ratio)
    traces = ((2 * number + 1) * 2**64 // 2000 for number in range(1000))
    return [sampler.should_sample(parent, one, "POST").decision.is_sampled() for one in traces]


@pytest.mark.parametrize("ratio", [0.0, 0.02, 1.0])
@pytest.mark.parametrize(("flags", "recorded"), [("00", False), ("01", True)])
def test_who_asks_decides_whether_a_trace_is_recorded(ratio: float, flags: str, *, recorded: bool) -> None:
    assert chosen(ratio, context_of(CONTEXT + flags)) == [recorded] * 1000


@pytest.mark.parametrize(("ratio", "share"), [(0.0, 0), (0.02, 20), (1.0, 1000)])
def test_of_what_begins_here_the_given_share_is_recorded(ratio: float, share: int) -> None:
    assert sum(chosen(ratio, context_of(""))) == share
