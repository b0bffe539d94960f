"""All tests of this folder share one worker, so that none stops or pauses what another one looks at."""

import pytest

from tests.e2e.conftest import WHOLE_SYSTEM


def test_the_workers_heard_of_the_group(request: pytest.FixtureRequest) -> None:
    """The plug-in that shares tests out once lost every group without a word."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("one process runs everything")
    assert request.node.nodeid.endswith(f"@{WHOLE_SYSTEM}")
