"""The small application of `tests/support/things.py`, served, and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from services.chassis.http import make_app
from services.chassis.settings import ServiceSettings
from tests.support.things import router
from tests.support.tokens import AUDIENCE, NAME, tokens_in
from tests.support.web import serving


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    settings = ServiceSettings(jwks_file=tokens_in(tmp_path).jwks, issuer=NAME, audience=AUDIENCE)
    app = make_app("things", routers=[router], state={"settings": settings, "db": None}, answer_within_s=0.3)
    async with serving(app) as base:
        yield base


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
        yield client
