"""The proxy that the fault tests stand on does what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proxy import Address, Proxy


class Echo:
    """A server that answers each line with the line, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.address: Address = ("", 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(line)
        writer.close()


@pytest.fixture(params=["tcp", "unix"])
async def echo(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Echo]:
    opened = Echo()
    if request.param == "tcp":
        server = await asyncio.start_server(opened.serve, "127.0.0.1", 0)
        opened.address = server.sockets[0].getsockname()
    else:
        opened.address = tmp_path / "echo"
        server = await asyncio.start_unix_server(opened.serve, opened.address)
    async with server:
        yield opened


@pytest.fixture(params=["tcp", "unix"])
async def proxy(request: pytest.FixtureRequest, echo: Echo, tmp_path: Path) -> AsyncIterator[Proxy]:
    listen = tmp_path / "proxy" if request.param == "unix" else None
    async with Proxy(echo.address, listen) as opened:
        yield opened


class Client:
    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    async def ask(self, line: bytes, limit_s: float = 5.0) -> bytes:
        """Send a line and return its answer; raises EOFError where there is no more."""
        self.writer.write(line)
        answer = await asyncio.wait_for(self.reader.readline(), limit_s)
        if not answer:
            raise EOFError
        return answer


@pytest.fixture
async def client(proxy: Proxy, tmp_path: Path) -> AsyncIterator[Client]:
    path = tmp_path / "proxy"
    if path.exists():
        opened = Client(await asyncio.open_unix_connection(path))
    else:
        opened = Client(await asyncio.open_connection("127.0.0.1", proxy.port))
    yield opened
    opened.writer.close()


async def test_it_forwards(client: Client, proxy: Proxy) -> None:
    assert await client.ask(b"one\n") == b"one\n"
    long = b"x" * 30_000 + b"\n"
    assert await client.ask(long) == long
    assert proxy.connections == 1


async def test_it_delays_both_ways(client: Client, proxy: Proxy) -> None:
    proxy.delay_s = 0.05
    started = time.monotonic()
    assert await client.ask(b"one\n") == b"one\n"
    assert time.monotonic() - started >= 0.1


async def test_a_lost_reply_was_done(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.lose_reply(b"COMMIT")
    assert await client.ask(b"BEGIN\n") == b"BEGIN\n"
    client.writer.write(b"COM")  # spread over two chunks
    await client.writer.drain()
    await asyncio.sleep(0.02)
    with pytest.raises((ConnectionResetError, EOFError)):
        await client.ask(b"MIT\n")
    assert echo.heard == [b"BEGIN\n", b"COMMIT\n"]
    assert proxy.lost_replies == 1
    assert proxy.connections == 0


async def test_a_lost_reply_may_leave_silence(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.lose_reply(cut=False)
    with pytest.raises(TimeoutError):
        await client.ask(b"one\n", limit_s=0.2)
    assert echo.heard == [b"one\n"]
    assert proxy.connections == 1


async def test_a_black_hole_swallows_and_stays_open(
    client: Client, proxy: Proxy, echo: Echo
) -> None:
    proxy.black_hole = True
    with pytest.raises(TimeoutError):
        await client.ask(b"one\n", limit_s=0.2)
    assert echo.heard == []
    proxy.black_hole = False
    assert await client.ask(b"two\n") == b"two\n"


async def test_it_cuts_and_refuses(client: Client, proxy: Proxy, tmp_path: Path) -> None:
    assert await client.ask(b"one\n") == b"one\n"
    proxy.cut()
    with pytest.raises((ConnectionResetError, EOFError)):
        await client.ask(b"two\n")
    proxy.refuse = True
    path = tmp_path / "proxy"
    if path.exists():
        reader, writer = await asyncio.open_unix_connection(path)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
