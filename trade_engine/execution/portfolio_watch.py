"""Asks a firm's portfolio service what each account holds, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from trade_engine.domain.errors import StoreUnavailable
from trade_engine.execution.ports import PortfolioSource
from trade_engine.portfolio.client import Books

ASK_EVERY_S = 1.0


class PortfolioWatch:
    """What the firm's books last told of each account. age_ms_max bounds how old it may be."""

    def __init__(self, source: PortfolioSource, accounts: Iterable[str], age_ms_max: int) -> None:
        self._source = source
        self._books = {account_id: Books() for account_id in accounts}
        self._age_ms_max = age_ms_max

    def fault(self, account_id: str, now_ns: int) -> str:
        """Why the books of an account cannot be relied on; empty when they can."""
        return self._books[account_id].fault(now_ns, self._age_ms_max)

    async def run(self) -> None:
        """Ask until canceled; an account that is not answered holds up no other."""
        while True:
            await asyncio.gather(*map(self._ask, self._books))
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self, account_id: str) -> None:
        books = self._books[account_id]
        try:
            books.told = await self._source.portfolio(account_id)
        except StoreUnavailable as error:
            books.failure = error.message
        else:
            books.failure = ""
