"""Reading what a stream missed, page by page, without taking the path to capital its time.

A page costs the engine's loop a few milliseconds, and whoever resumes from far behind reads ten
thousand of them. So the first pages of a stream come at once (most come back from a short break),
and what is behind them is read in turn by all streams, one page at a time: where anything was
committed while a page was read, the next one waits for many times as long as that one took. An idle
engine reads on without a rest; a busy one gives to all who catch up a small share of its time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from trade_engine.api.order_tail import Tail
from trade_engine.api.update_batch import Batch, UpdateFilter, framed
from trade_engine.domain.journal import ORDER_KINDS, JournalEntry
from trade_engine.execution.ports import RecordQueries

FREE_PAGES = 10
"""So many pages of a stream are read without a rest."""
REST = 30
"""How many times longer a rest is than the page before it."""


class CatchingUp:
    """The streams that read from the record by themselves; one for all of them."""

    def __init__(self, queries: RecordQueries, page: int, readers_max: int) -> None:
        """Say where entries are read, how many at once, and by how many streams at once."""
        self._queries = queries
        self._page = page
        self._reading = asyncio.Semaphore(readers_max)
        self._in_turn = asyncio.Lock()
        self._commits = 0
        self._over = asyncio.Event()

    def close(self) -> None:
        """Let nobody rest any more: the streams are about to end."""
        self._over.set()

    def committed(self) -> None:
        """Note that the path to capital is at work."""
        self._commits += 1

    async def read(
        self, tail: Tail, which: UpdateFilter, after: int, pages_before: int
    ) -> tuple[bytes, int]:
        """One page after a sequence: the message to send, if any, and up to where it reads.

        pages_before is how many the stream has read by itself already.
        """
        if pages_before < FREE_PAGES:
            async with self._reading:
                return await self._read(tail, which, after)
        async with self._in_turn:
            loop, commits = asyncio.get_running_loop(), self._commits
            began = loop.time()
            found = await self._read(tail, which, after)
            if self._commits != commits:
                await self._rest(REST * (loop.time() - began))
            return found

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    async def _read(self, tail: Tail, which: UpdateFilter, after: int) -> tuple[bytes, int]:
        committed = tail.position
        entries = await self.entries(tail.account_id, after)
        if not entries:
            return b"", max(after, committed)
        view = Batch(entries).view(which, 0)
        is_last = len(entries) < self._page
        reads_to = max(entries[-1].sequence, committed) if is_last else entries[-1].sequence
        return framed([view]) if view else b"", reads_to

    async def entries(self, account_id: str, after: int) -> list[JournalEntry]:
        """A page of what was journaled about an account's orders."""
        return await self._queries.entries(account_id, after, self._page, ORDER_KINDS)
