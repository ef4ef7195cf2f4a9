"""The one pool of connections to the record.

SQLAlchemy's own pool cost 120 µs of processor time and as much latency for each statement, mostly
in switching greenlets: a fifth of a commit. Here lending an idle connection costs two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from psycopg.pq import TransactionStatus

from trade_engine.storage.postgres.connection import Connection, went_stale


class Pool:
    """At most `size` connections, lent to one task each; the last one returned is lent first.

    A task that finds all of them lent waits its turn.
    """

    def __init__(self, open_connection: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._open_connection = open_connection
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._closed = False

    async def lend(self) -> Connection:
        """Lend a connection that is alive as far as can be seen; opens one if none is idle."""
        await self._turns.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if not went_stale(connection):
                    return connection
                await connection.close()
            return await self._open_connection()
        except BaseException:
            self._turns.release()
            raise

    async def take_back(self, connection: Connection, *, broken: bool) -> None:
        """Keep a connection for the next task; one that is broken or in a transaction is closed."""
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if broken or self._closed or not idle:
            await connection.close()
        else:
            self._idle.append(connection)
        self._turns.release()

    async def close(self) -> None:
        """Close the idle connections; those that are lent are closed when they come back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
