"""Asks a firm's portfolio service what each account holds, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.execution.books_compare import BooksComparison
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.observer import Alert, Observer, raise_alert
from trade_engine.execution.ports import PortfolioSource
from trade_engine.execution.requests import BooksRequest
from trade_engine.portfolio.client import Books
from trade_engine.portfolio.comparison import Tolerance

log = structlog.get_logger(__name__)

ASK_EVERY_S = 1.0


@dataclass(slots=True)
class _Watched:
    comparison: BooksComparison
    books: Books = field(default_factory=Books)
    comparing: asyncio.Future[bool] | None = None
    is_unknown: bool = False


class PortfolioWatch:
    """What the firm's books last told of each account, held against the ledger where it is fresh.

    age_ms_max bounds how old it may be.
    """

    def __init__(
        self,
        source: PortfolioSource,
        accounts: Mapping[str, object],
        age_ms_max: int,
        tolerance: Tolerance,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._source = source
        self._watched = {each: _Watched(BooksComparison(tolerance)) for each in accounts}
        self._age_ms_max = age_ms_max
        self._clock = clock
        self._observer = observer

    def books(self, account_id: str) -> Books:
        """What was last told of an account."""
        return self._watched[account_id].books

    def fault(self, account_id: str, now_ns: int) -> str:
        """Why the books of an account cannot be relied on; empty when they can."""
        return self.books(account_id).fault(now_ns, self._age_ms_max)

    async def run(self, gates: Mapping[str, AccountGate]) -> None:
        """Ask until canceled; an account that is not answered holds up no other."""
        while True:
            await asyncio.gather(*(self._ask(gates[each]) for each in self._watched))
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self, gate: AccountGate) -> None:
        books = self.books(gate.account_id)
        try:
            books.told = await self._source.portfolio(gate.account_id)
        except StoreUnavailable as error:
            books.failure = error.message
        except Exception:
            # Whatever an answer does to us, the other accounts are asked on.
            log.warning("books_not_read", account_id=gate.account_id, exc_info=True)
            books.failure = "the portfolio service's answer could not be read; see the log"
        else:
            books.failure = ""
            self._compare(gate)
        self._alert(gate.account_id)

    def _alert(self, account_id: str) -> None:
        """Say once that nothing of an account grows, until its books are known again."""
        watched = self._watched[account_id]
        fault = self.fault(account_id, self._clock())
        if fault and not watched.is_unknown:
            raise_alert(self._observer, Alert.BOOKS_UNKNOWN, account_id=account_id, why=fault)
        watched.is_unknown = bool(fault)

    def _compare(self, gate: AccountGate) -> None:
        """Let the account's writer compare, unless it has not come to the last one yet."""
        watched = self._watched[gate.account_id]
        told = watched.books.told
        if told is None or self.fault(gate.account_id, self._clock()) or gate.closed_because:
            return
        if watched.comparing is None or watched.comparing.done():
            watched.comparing = asyncio.get_running_loop().create_future()
            watched.comparing.add_done_callback(lambda done: done.cancelled() or done.exception())
            gate.enqueue(BooksRequest(told, watched.comparison, watched.comparing))
