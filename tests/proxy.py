"""A proxy between a client and a server, on TCP or Unix sockets, that fails on demand.

It forwards bytes and knows no protocol, so it stands before Redis and PostgreSQL alike:

    async with Proxy(("127.0.0.1", 6379)) as proxy:
        client = connect("127.0.0.1", proxy.port)
        proxy.lose_reply(b"EVALSHA")  # the server does it, the client never hears

What is set holds for connections open now and for later ones, until it is set back.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

Address = tuple[str, int] | Path
"""Host and port, or the path of a Unix socket."""

_CHUNK = 65536


class Proxy:
    """Listens on a free port of the loopback, or on the Unix socket `listen`.

    delay_s        every chunk waits so long, in each direction
    black_hole     bytes are taken and go nowhere; connections stay open
    refuse         a new connection is closed at once
    lost_replies   how many replies `lose_reply` has dropped so far
    cuts           how many connections `cut_after` has broken so far
    """

    def __init__(self, upstream: Address, listen: Path | None = None) -> None:
        self.delay_s = 0.0
        self.black_hole = False
        self.refuse = False
        self.lost_replies = 0
        self.cuts = 0
        self._upstream = upstream
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lose: _Lose | None = None
        self._bytes_left: int | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many are open through it."""
        return len(self._pairs)

    async def __aenter__(self) -> Self:
        if self._listen is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        else:
            self._server = await asyncio.start_unix_server(self._accept, self._listen)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection that is open now."""
        for pair in tuple(self._pairs):
            pair.cut()

    def lead_to(self, upstream: Address) -> None:
        """Lead to another server from now on, as a failover does; what is open breaks."""
        self._upstream = upstream
        self.cut()

    def cut_after(self, count: int) -> None:
        """Let so many bytes more through, and break the connection at the last of them."""
        self._bytes_left = count

    def lose_reply(self, to: bytes = b"", *, count: int = 1, cut: bool = True) -> None:
        """Let requests through, and drop what the server answers.

        Args:
            to: what a request has to contain; any, when empty.
            count: how many replies to lose.
            cut: break the connection then; else it stays open and silent.
        """
        self._lose = _Lose(to, count, cut)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.close()
            return
        try:
            if isinstance(self._upstream, Path):
                server = await asyncio.open_unix_connection(self._upstream)
            else:
                server = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.close()
            return
        pair = _Pair(self, (reader, writer), server)
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)

    def heal(self) -> None:
        """Fail no more; what is open and cannot be trusted any more is broken once."""
        broken = self.black_hole or self._lose is not None
        self.delay_s, self.black_hole, self.refuse = 0.0, False, False
        self._lose, self._bytes_left = None, None
        if broken:
            self.cut()

    def _allowed(self, count: int) -> int:
        """How many of so many bytes may pass before the connection is to be broken."""
        if self._bytes_left is None or count < self._bytes_left:
            if self._bytes_left is not None:
                self._bytes_left -= count
            return count
        allowed, self._bytes_left = self._bytes_left, None
        self.cuts += 1
        return allowed

    def _meets(self, seen: bytes) -> bool:
        """Whether the reply to these bytes is to be lost; counts it."""
        lose = self._lose
        if lose is None or lose.to not in seen:
            return False
        lose.count -= 1
        if lose.count == 0:
            self._lose = None
        return True


@dataclass(slots=True)
class _Lose:
    to: bytes
    count: int
    cut: bool


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Pair:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._losing: _Lose | None = None

    async def run(self) -> None:
        """Forward both ways until either side ends."""
        directions = {
            asyncio.ensure_future(self._requests()),
            asyncio.ensure_future(self._replies()),
        }
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.cut()
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    def cut(self) -> None:
        """Close both, at once."""
        for _, writer in (self._client, self._server):
            with contextlib.suppress(OSError):
                writer.transport.abort()

    async def _requests(self) -> None:
        tail = b""
        while chunk := await self._client[0].read(_CHUNK):
            lose = self._proxy._lose
            seen = tail + chunk
            if lose is not None and self._losing is None and self._proxy._meets(seen):
                self._losing = lose
            # A word may be spread over two chunks.
            tail = seen[-len(lose.to) + 1 :] if lose is not None and len(lose.to) > 1 else b""
            await self._pass_on(self._server[1], chunk)

    async def _replies(self) -> None:
        while chunk := await self._server[0].read(_CHUNK):
            if self._losing is not None:
                self._proxy.lost_replies += 1
                if self._losing.cut:
                    return
                continue
            await self._pass_on(self._client[1], chunk)

    async def _pass_on(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        if self._proxy.delay_s:
            await asyncio.sleep(self._proxy.delay_s)
        if self._proxy.black_hole:
            return
        allowed = self._proxy._allowed(len(chunk))
        writer.write(chunk[:allowed])
        await writer.drain()
        if allowed < len(chunk):
            self.cut()
