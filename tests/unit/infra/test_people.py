"""A client of the API does as it is told: what is busy is asked again, what is refused is not."""

from itertools import chain, repeat

import httpx2
import pytest

from infra import people
from infra.people import Api, ApiError

Said = tuple[int, dict[str, str], dict[str, str]]
BUSY: Said = (503, {"code": "SERVICE_UNAVAILABLE"}, {"retry-after": "0"})
DONE: Said = (201, {"id": "1"}, {})


class Door:
    """Answers one after the other, and keeps what was asked."""

    def __init__(self, *answers: Said) -> None:
        self.answers = chain(answers, repeat(answers[-1]))
        self.asked: list[tuple[str, bytes]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.headers["idempotency-key"], request.content))
        status, body, headers = next(self.answers)
        return httpx2.Response(status, json=body, headers=headers)

    async def ask(self) -> dict[str, str]:
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self), base_url="http://door")
        async with client:
            return await Api("http://door", client).call(
                "POST", "/v1/things", "token", {"n": 1}, {"idempotency-key": "k"}
            )


async def test_a_busy_api_is_sent_the_same_request_again() -> None:
    door = Door(BUSY, BUSY, DONE)
    assert await door.ask() == {"id": "1"}
    assert len(door.asked) == 3
    assert len(set(door.asked)) == 1


async def test_one_that_stays_busy_is_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "COMES_AGAIN_FOR_S", -1.0)
    with pytest.raises(ApiError, match="SERVICE_UNAVAILABLE"):
        await Door(BUSY).ask()


@pytest.mark.parametrize("status", [409, 500])
async def test_what_is_refused_is_not_asked_again(status: int) -> None:
    door = Door((status, {"code": "NO"}, {"retry-after": "0"}))
    with pytest.raises(ApiError, match="NO"):
        await door.ask()
    assert len(door.asked) == 1
