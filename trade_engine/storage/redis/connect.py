"""The link to Redis: a round trip within a time limit, and nothing ever sent again unasked.

redis-py's own client sends a command again when a reply is lost; here a lost reply is an error,
and whoever asked decides. Of redis-py its connections are used: addresses, TLS, login, parsing.
Its pool and its pipeline are not, since they take more of the processor than all the rest.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from trade_engine.domain.errors import StoreUnavailable
from trade_engine.storage.redis.encoding import Argument
from trade_engine.storage.redis.scripts import ALL

Command = tuple[Argument, ...]

REQUIRED_POLICY = "noeviction"


class RedisLink:
    """Connections to one server: at most `connections` round trips at a time, the rest wait.

    timeout_s bounds a round trip as a whole: waiting for a connection, connecting, asking and
    answering. `database` is the number in the URL (redis://, rediss:// or unix://).
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0, connections: int = 4) -> None:
        self._timeout_s = timeout_s
        self._maker = _connection_maker(url, timeout_s, socket_timeout_s=None)
        self._listener_maker = _connection_maker(url, timeout_s, socket_timeout_s=timeout_s)
        self._free = asyncio.Semaphore(connections)
        self._idle: list[AbstractConnection] = []
        self._closed = False
        self.database = int(self._maker.connection_kwargs.get("db", 0))

    async def run(self, *commands: Command) -> list[Any]:
        """Send commands in one go and return their replies, in order.

        Scripts that the server does not have (any more) are loaded, and all is sent again.

        Raises:
            StoreUnavailable: no answer within the time limit, no connection, or an error reply to
                any of the commands; what became of the commands is then unknown.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._free:
                try:
                    return await self._round_trip(commands)
                except NoScriptError:
                    await self._round_trip([("SCRIPT", "LOAD", each.text) for each in ALL])
                    return await self._round_trip(commands)
        except TimeoutError as error:
            await self._drop_idle()
            raise StoreUnavailable(
                f"Redis did not answer within {self._timeout_s:g} s: see that it runs and can be "
                "reached.",
                store="redis",
            ) from error
        except (RedisError, OSError) as error:
            if not isinstance(error, ResponseError):
                await self._drop_idle()
            raise StoreUnavailable(
                f"Redis cannot be used now: {str(error) or type(error).__name__}", store="redis"
            ) from error

    async def _round_trip(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._idle.pop() if self._idle else _make(self._maker)
        replies: list[Any] = []
        fault: ResponseError | None = None
        try:
            if connection.is_connected and await connection.can_read():
                # The server closed it meanwhile.
                await connection.disconnect(nowait=True)
            await connection.send_packed_command([_pack(each) for each in commands])
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    # The replies behind it have to be read, or the next caller would get them.
                    fault = fault or error
        finally:
            # After any other error, or a cancel, redis-py has closed it, and opens it when used.
            if self._closed:
                await connection.disconnect(nowait=True)
            else:
                self._idle.append(connection)
        if fault is not None:
            raise fault
        return replies

    def new_connection(self) -> AbstractConnection:
        """A connection to listen on, not yet open; the caller closes it."""
        return _make(self._listener_maker)

    async def check_policy(self) -> None:
        """See that Redis never drops keys to make room; to be asked again from time to time.

        Raises:
            StoreUnavailable: it would, or it cannot be asked.
        """
        # Hosted servers often forbid CONFIG, and seldom INFO.
        (reply,) = await self.run(("INFO", "memory"))
        found = re.search(rb"^maxmemory_policy:(\S+)", reply, re.MULTILINE)
        policy = found[1].decode() if found else "unknown"
        if policy != REQUIRED_POLICY:
            raise StoreUnavailable(
                f"Redis has maxmemory-policy {policy}, under which it may drop risk state without "
                f"a word. Set it with `CONFIG SET maxmemory-policy {REQUIRED_POLICY}`, and in its "
                "configuration file.",
                store="redis",
                maxmemory_policy=policy,
            )

    async def close(self) -> None:
        """Close the connections; one that waits for a reply, when it has it."""
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect()

    async def _drop_idle(self) -> None:
        """What broke one connection has broken the others, most likely: let each be made anew."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)


def _connection_maker(
    url: str, timeout_s: float, *, socket_timeout_s: float | None
) -> ConnectionPool:
    return ConnectionPool.from_url(
        url,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        client_name="trade-engine",
        driver_info=None,
    )


def _pack(command: Command) -> bytes:
    # hiredis declares a tuple of one, and takes any.
    return hiredis.pack_command(command)  # type: ignore[arg-type, no-any-return]


def _make(maker: ConnectionPool) -> AbstractConnection:
    connection: AbstractConnection = maker.make_connection()  # type: ignore[no-untyped-call]
    return connection
