"""A run that breaks itself still says what it knows; nothing of the system is started here."""

from pathlib import Path

from rich.console import Console

from infra.ports import free_port
from infra.stack import Stack
from tests.chaos.ground import Ground
from tests.chaos.history import Recorder
from tests.chaos.proxy import Proxy
from tests.chaos.run import Wish, reported_on
from tests.fakes.esewa import Simulator


def token(**_: object) -> str:
    return "a token"


async def test_an_error_of_the_run_itself_is_one_more_reason_and_not_its_end(tmp_path: Path) -> None:
    """The stack was never started, so the first question about it fails."""
    async with Simulator("http://esewa", "http://control") as esewa:
        ground = Ground(Stack(tmp_path), {}, Proxy(free_port(), free_port()), esewa, token)
        with Recorder(tmp_path / "history.jsonl", run="r", seed=1) as recorder:
            asked = recorder.invoke("somebody", "look", {"path": "/v1/checkouts/c1"}, trace_id="t")
            recorder.end(asked, "info", 500, code="INTERNAL_ERROR")
            found = await reported_on(ground, Wish(1, 10.0, 1.0, "again"), recorder, Console(quiet=True))
    assert any("the run itself broke: AttributeError" in why for why in found.reasons)
    assert "ANSWER: 1 violations" in found.reasons
    assert not found.ok
