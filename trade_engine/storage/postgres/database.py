"""Statements on the record, with time limits that hold whatever its server does.

Cancelling psycopg in mid-flight waits for a server that may be frozen (11 s were measured for a
limit of one). So no statement is cancelled here: each call runs in a task that this class owns,
the caller waits for it as long as its limit allows, and then goes on without it. The connection of
a call given up is shut down at its socket, which ends the task at once; it never serves again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import psycopg
import structlog

from trade_engine.domain.errors import StoreRefused, StoreUnavailable
from trade_engine.storage.postgres.connection import Connection, connect
from trade_engine.storage.postgres.pool import Pool
from trade_engine.storage.postgres.url import connection_words

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

STORE = "postgres"
"""What errors name as the store that failed."""
_NEVER = frozenset({"22", "23"})
"""Classes of SQLSTATE that no repetition mends: the data itself, or what it would violate."""
_CLOSE_S_MAX = 1.0

_log = structlog.get_logger(__name__)


class ReplyLost(StoreUnavailable):
    """The statement was sent, and nobody knows what became of it."""


class _Call:
    """One piece of work: on which connection, once it has one, and whether that was shut down."""

    __slots__ = ("connection", "doing", "shut")

    def __init__(self, doing: str, connection: Connection | None = None) -> None:
        self.doing = doing
        self.connection = connection
        self.shut = False

    def give_up(self, task: asyncio.Task[Any]) -> None:
        """End the work: before it began, by cancelling; after, by the end of its connection."""
        if self.connection is None:
            task.cancel()
            return
        self.shut = True
        with contextlib.suppress(OSError, psycopg.Error):
            fd = os.dup(self.connection.pgconn.socket)
            with socket.socket(fileno=fd) as peer:
                peer.shutdown(socket.SHUT_RDWR)


class Database:
    """A pool of connections to one database, all of them in autocommit."""

    def __init__(
        self,
        database_url: str,
        *,
        pool_size: int = 8,
        statement_limit_s: float = 4.5,
        application_name: str = "trade-engine",
    ) -> None:
        """Connect to nothing yet.

        statement_limit_s is the server's own limit: keep it below the callers', so that a
        statement that waits too long is refused by the server, which is an answer.
        """
        words = connection_words(database_url)

        async def open_connection() -> Connection:
            return await connect(words, application_name, round(statement_limit_s * 1000))

        self.pool = Pool(open_connection, pool_size)
        self._tasks: dict[asyncio.Task[Any], _Call] = {}
        self._closed = False

    async def close(self) -> None:
        """Let calls under way end, for a second at most, and close every connection."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S_MAX)
        for task, call in self._tasks.items():
            call.give_up(task)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pool.close()

    async def call(self, doing: str, limit_s: float, work: Work[T]) -> T:
        """Run `work` on a connection, within `limit_s`. doing names it in errors and in the log.

        Work that uses a transaction ends it. A psycopg error that work does not catch becomes
        one of these:

        Raises:
            ReplyLost: the connection broke, or the limit passed, after the work began.
            StoreUnavailable: no connection, or the server refused; nothing was done.
        """
        call = _Call(doing)

        async def lend_and_work() -> T:
            connection = await self.pool.lend()
            try:
                call.connection = connection
                return await work(connection)
            finally:
                await self.pool.take_back(connection, broken=call.shut)

        return await self.answer(call, limit_s, lend_and_work())

    @contextlib.asynccontextmanager
    async def session(
        self, doing: str, limit_s: float, begin: Work[T]
    ) -> AsyncIterator[tuple[Session, T]]:
        """Lend one connection for several calls, for a transaction that a caller steps through.

        `begin` is the first step, within `limit_s` together with the lending. A transaction still
        open at the end is rolled back by closing the connection.

        Raises:
            StoreUnavailable: `begin` did not succeed.
        """
        call = _Call(doing)
        session = Session(self)
        try:
            begun = await self.answer(call, limit_s, session.begin(call, begin))
            yield session, begun
        finally:
            _ = self._own(_Call(doing, call.connection), session.end())

    def _own(self, call: _Call, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks[task] = call
        task.add_done_callback(self._tasks.pop)
        return task

    async def answer(self, call: _Call, limit_s: float, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, in a task of our own, within the limit; then go on without it."""
        if self._closed:
            work.close()
            raise StoreUnavailable(f"the record is closed ({call.doing})", store=STORE)
        task = self._own(call, work)
        try:
            await asyncio.wait((task,), timeout=limit_s)
        except asyncio.CancelledError:
            self._leave(call, task, limit_s)
            raise
        if not task.done():
            task.add_done_callback(_look_at)
            call.give_up(task)
            raise _too_slow(call, limit_s)
        if task.cancelled():
            raise StoreUnavailable(f"the record is closed ({call.doing})", store=STORE)
        try:
            return task.result()
        except (psycopg.Error, OSError) as error:
            raise _in_our_words(call, error) from error

    def _leave(self, call: _Call, task: asyncio.Task[Any], limit_s: float) -> None:
        """Let a call end by itself whose caller was cancelled; but not hang for ever."""
        if call.connection is None:
            task.cancel()
        end = asyncio.get_running_loop().call_later(limit_s, call.give_up, task)

        def ended(task: asyncio.Task[Any]) -> None:
            end.cancel()
            _look_at(task)

        task.add_done_callback(ended)


class Session:
    """One connection, lent for several calls in turn."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lent: Connection | None = None
        self._working = asyncio.Lock()
        self._calls: list[_Call] = []

    async def begin(self, call: _Call, work: Work[T]) -> T:
        """Get the connection, and do the first work on it."""
        self._calls.append(call)
        async with self._working:
            self._lent = await self._database.pool.lend()
            call.connection = self._lent
            return await work(self._lent)

    async def call(self, doing: str, limit_s: float, work: Work[T]) -> T:
        """Run `work` on the session's connection; raises as `Database.call` does."""
        connection = self._lent
        assert connection is not None  # noqa: S101 - it has begun
        call = _Call(doing, connection)
        self._calls.append(call)

        async def hold_and_work() -> T:
            async with self._working:
                return await work(connection)

        return await self._database.answer(call, limit_s, hold_and_work())

    async def end(self) -> None:
        """Give the connection back once no work holds it, or close it if it cannot serve again."""
        async with self._working:
            if self._lent is not None:
                broken = any(call.shut for call in self._calls)
                await self._database.pool.take_back(self._lent, broken=broken)


def _look_at(task: asyncio.Task[object]) -> None:
    """Retrieve the outcome of a task that nobody waits for any more."""
    if not task.cancelled() and (error := task.exception()):
        _log.info("record_call_ended_late", error=repr(error))


def _too_slow(call: _Call, limit_s: float) -> StoreUnavailable:
    sent = call.connection is not None
    _log.warning("record_call_too_slow", doing=call.doing, limit_s=limit_s, sent=sent)
    if sent:
        return ReplyLost(
            f"the record did not answer within {limit_s:g} s ({call.doing})", store=STORE
        )
    return StoreUnavailable(
        f"no connection to the record was free within {limit_s:g} s ({call.doing}); try again",
        store=STORE,
    )


def _in_our_words(call: _Call, error: BaseException) -> StoreUnavailable:
    state = getattr(error, "sqlstate", None)
    _log.warning("record_call_failed", doing=call.doing, error=str(error), sqlstate=state)
    if call.connection is None:
        return StoreUnavailable(
            f"no connection to the record ({call.doing}); see that the database runs, then try "
            "again",
            store=STORE,
        )
    if call.connection.closed:
        return ReplyLost(
            f"the connection to the record broke ({call.doing}); try again", store=STORE
        )
    kind = StoreRefused if (state or "")[:2] in _NEVER else StoreUnavailable
    return kind(
        f"the record refused ({call.doing}), SQLSTATE {state}; the log says why",
        store=STORE,
        sqlstate=state or "",
    )
