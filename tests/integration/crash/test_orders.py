"""Orders, ended at every step of everything it does."""

import pytest

from tests.integration.crash import of_orders
from tests.integration.crash.conftest import Try


@pytest.mark.parametrize("name", of_orders.SCENARIOS)
async def test_ended_at_any_step_and_done_again_it_takes_effect_once(name: str, try_orders: Try) -> None:
    tried = await try_orders(of_orders.SCENARIOS[name])
    assert not tried.wrong, "\n".join(tried.wrong[:20])
    assert tried.runs > 2 * len(tried.steps) - 2, tried.steps
