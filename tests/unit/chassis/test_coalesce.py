"""The coalescer: every item gets its own outcome, whatever the others do."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, trace

from services.chassis import coalesce
from services.chassis.coalesce import Coalescer, Member
from services.chassis.errors import Problem
from services.chassis.telemetry import context_of

BAD = "bad"
REFUSED = "refused"


class Ledger:
    """Runs batches; a batch with a bad member fails as a whole, as a transaction would."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.kept: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, members: Sequence[Member[str]]) -> list[str | Exception]:
        items = [member.item for member in members]
        self.batches.append(items)
        await self.gate.wait()
        if any(item.startswith(BAD) for item in items):
            raise RuntimeError("the transaction is gone")
        self.kept += [item for item in items if not item.startswith(REFUSED)]
        return [Problem(409, "REFUSED") if item.startswith(REFUSED) else f"done {item}" for item in items]


@given(
    kinds=st.lists(st.sampled_from(["good", BAD, REFUSED]), max_size=30),
    most=st.integers(min_value=1, max_value=7),
    pauses=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_each_item_gets_its_own_outcome(kinds: list[str], most: int, pauses: list[bool]) -> None:
    async def story() -> None:
        ledger = Ledger()
        coalescer: Coalescer[str, str] = Coalescer(ledger.run, most)
        items = [f"{kind} {place}" for place, kind in enumerate(kinds)]
        tasks = []
        for item, pause in zip(items, pauses, strict=False):
            tasks.append(asyncio.create_task(coalescer.submit(item)))
            if pause:
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for item, outcome in zip(items, outcomes, strict=True):
            kind = {BAD: RuntimeError, REFUSED: Problem, "good": str}[item.split()[0]]
            assert isinstance(outcome, kind)
            assert kind is not str or outcome == f"done {item}"
        good = [item for item in items if item.startswith("good")]
        assert sorted(ledger.kept) == sorted(good)  # each once
        assert all(len(batch) <= most for batch in ledger.batches)

    asyncio.run(story())


async def test_what_arrives_while_a_batch_runs_shares_the_next_one() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    coalescer: Coalescer[str, str] = Coalescer(ledger.run)
    first = asyncio.create_task(coalescer.submit("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ledger.batches == [["a"]]  # one alone does not wait for more
    others = [asyncio.create_task(coalescer.submit(name)) for name in "bcd"]
    await asyncio.sleep(0)
    ledger.gate.set()
    assert await asyncio.gather(first, *others) == ["done a", "done b", "done c", "done d"]
    assert ledger.batches == [["a"], ["b", "c", "d"]]


async def test_order_of_arrival_is_kept() -> None:
    ledger = Ledger()
    coalescer: Coalescer[str, str] = Coalescer(ledger.run, 3)
    names = [str(number) for number in range(20)]
    await asyncio.gather(*(coalescer.submit(name) for name in names))
    assert [item for batch in ledger.batches for item in batch] == names


async def test_a_caller_that_goes_away_stops_nobody() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    coalescer: Coalescer[str, str] = Coalescer(ledger.run)
    running, leaving, staying = (asyncio.create_task(coalescer.submit(name)) for name in "abc")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    ledger.gate.set()
    assert await staying == "done c"
    assert await leaving == "done b"
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await coalescer.submit("d") == "done d"


async def test_a_caller_that_went_away_before_its_batch_began_is_not_run() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    coalescer: Coalescer[str, str] = Coalescer(ledger.run)
    first = asyncio.create_task(coalescer.submit("a"))
    await asyncio.sleep(0)
    second = asyncio.create_task(coalescer.submit("b"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    ledger.gate.set()
    await first
    assert await coalescer.submit("c") == "done c"
    assert ledger.batches == [["a"], ["c"]]


@pytest.mark.parametrize("failing", [1, 9])
async def test_a_database_that_is_away_is_asked_twice_for_all(failing: int) -> None:
    batches: list[int] = []

    async def run(members: Sequence[Member[str]]) -> list[str | Exception]:
        batches.append(len(members))
        if len(batches) <= failing:
            raise TimeoutError("no connection is free")
        return [member.item for member in members]

    coalescer: Coalescer[str, str] = Coalescer(run)
    outcomes = await asyncio.gather(*(coalescer.submit(name) for name in "abc"), return_exceptions=True)
    assert [type(one) for one in outcomes] == [str if failing == 1 else TimeoutError] * 3
    assert batches == [3, 3]


async def test_each_member_keeps_the_trace_of_its_caller() -> None:
    seen: dict[str, str] = {}

    async def run(members: Sequence[Member[str]]) -> list[str | Exception]:
        seen.update({member.item: member.traceparent for member in members})
        return [member.item for member in members]

    coalescer: Coalescer[str, str] = Coalescer(run)

    async def call(name: str, traceparent: str) -> None:
        token = context.attach(context_of(traceparent))
        try:
            await coalescer.submit(name)
        finally:
            context.detach(token)

    ours = {name: f"00-{name * 32}-{'1' * 16}-01" for name in "abc"}
    await asyncio.gather(*(call(name, traceparent) for name, traceparent in ours.items()))
    assert seen == ours
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_run_that_forgets_a_member_fails_them_all_one_by_one() -> None:
    async def forgetful(members: Sequence[Member[str]]) -> list[str | Exception]:
        return [members[0].item]

    coalescer: Coalescer[str, str] = Coalescer(forgetful)
    assert await asyncio.gather(*(coalescer.submit(name) for name in "abc")) == ["a", "b", "c"]


async def test_too_many_waiting_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "MOST_WAITING", 2)
    ledger = Ledger()
    ledger.gate.clear()
    coalescer: Coalescer[str, str] = Coalescer(ledger.run)
    waiting = [asyncio.create_task(coalescer.submit(name)) for name in "ab"]
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(coalescer.submit(name)) for name in "cd"]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as refused:
        await coalescer.submit("e")
    assert refused.value.status == 503
    ledger.gate.set()
    await asyncio.gather(*waiting)
