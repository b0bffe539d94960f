"""The proxy passes everything on, and misbehaves exactly as told for exactly as long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.ports import free_port
from tests.chaos.proxy import Proxy, is_commit, is_produce


class Echo:
    """A server that answers each chunk with itself and remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            self.heard.append(chunk)
            writer.write(chunk)
        writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, Echo]]:
    echo, port = Echo(), free_port()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", port)
    async with Proxy(free_port(), port) as proxy:
        yield proxy, echo
    server.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, proxy: Proxy) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def say(self, words: bytes) -> bytes:
        """The answer; empty when the line was cut."""
        self.writer.write(words)
        try:
            async with asyncio.timeout(10):
                return await self.reader.read(1000)
        except ConnectionError:
            return b""


async def test_what_is_said_is_passed_on_and_answered() -> None:
    async with proxied() as (proxy, _):
        client = await Client.of(proxy)
        assert await client.say(b"hello") == b"hello"
        assert await client.say(b"again") == b"again"


async def test_a_commit_is_cut_before_it_arrives_and_only_as_often_as_told() -> None:
    async with proxied() as (proxy, echo), proxy.trouble("cut before", is_commit, 1) as trouble:
        client = await Client.of(proxy)
        assert await client.say(b"select 1") == b"select 1"
        assert await client.say(b"Q....COMMIT;") == b""
        assert echo.heard == [b"select 1"]
        assert (trouble.left, trouble.suffered) == (0, 1)
        assert await (await Client.of(proxy)).say(b"COMMIT;") == b"COMMIT;"


async def test_a_commit_arrives_and_its_answer_is_lost() -> None:
    async with proxied() as (proxy, echo), proxy.trouble("lose answer", is_commit, 1):
        assert await (await Client.of(proxy)).say(b"COMMIT;") == b""
        assert echo.heard == [b"COMMIT;"]


async def test_silence_ends_with_the_trouble_and_nothing_was_lost() -> None:
    async with proxied() as (proxy, echo):
        client = await Client.of(proxy)
        async with proxy.trouble("silence") as trouble:
            answer = asyncio.create_task(client.say(b"hello"))
            done, _ = await asyncio.wait([answer], timeout=0.2)
            assert not done
            assert echo.heard == []
            assert trouble.suffered == 1
        assert await answer == b"hello"


async def test_away_means_refused_and_cut_until_it_is_over() -> None:
    async with proxied() as (proxy, _):
        client = await Client.of(proxy)
        assert await client.say(b"hello") == b"hello"
        async with proxy.trouble("away") as trouble:
            assert trouble.suffered == 1
            assert await client.say(b"hello") == b""
            with pytest.raises(ConnectionRefusedError):
                await Client.of(proxy)
        assert await (await Client.of(proxy)).say(b"hello") == b"hello"


async def test_two_troubles_overlap_and_each_ends_by_itself() -> None:
    async with proxied() as (proxy, _):
        async with proxy.trouble("away"):
            async with proxy.trouble("away"):
                pass
            with pytest.raises(ConnectionRefusedError):
                await Client.of(proxy)
        assert await (await Client.of(proxy)).say(b"hello") == b"hello"


async def test_a_server_that_is_gone_is_a_line_that_is_cut() -> None:
    async with Proxy(free_port(), free_port()) as proxy:
        assert await (await Client.of(proxy)).say(b"hello") == b""


def test_a_send_is_told_by_its_api_key() -> None:
    assert is_produce(b"\x00\x00\x00\x20\x00\x00\x00\x08rest")
    assert not is_produce(b"\x00\x00\x00\x20\x00\x01\x00\x08rest")
