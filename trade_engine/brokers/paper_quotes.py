"""The quotes that the paper venue of this process has seen, and who waits for more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trade_engine.domain.market import Quote


class QuoteWatcher(Protocol):
    """Somebody with orders that a quote could fill."""

    def offer(self, quote: Quote, now_ns: int) -> None:
        """Take note of a quote seen at now_ns; never blocks."""


class QuoteBoard:
    """The last quote of every symbol, and for each symbol the accounts that wait for the next."""

    def __init__(self) -> None:
        self._latest: dict[str, Quote] = {}
        self._watchers: dict[str, dict[QuoteWatcher, None]] = {}

    def publish(self, quotes: Sequence[Quote], now_ns: int) -> None:
        """Show quotes to whom they concern; one older than the last of its symbol is left out."""
        for quote in quotes:
            known = self._latest.get(quote.symbol)
            if known is not None and quote.time_ns < known.time_ns:
                continue
            self._latest[quote.symbol] = quote
            for watcher in self._watchers.get(quote.symbol, ()):
                watcher.offer(quote, now_ns)

    def latest(self, symbol: str) -> Quote | None:
        """The last quote of a symbol."""
        return self._latest.get(symbol)

    def watch(self, symbol: str, watcher: QuoteWatcher) -> None:
        """Offer the symbol's quotes to the watcher from now on."""
        self._watchers.setdefault(symbol, {})[watcher] = None

    def unwatch(self, symbol: str, watcher: QuoteWatcher) -> None:
        """Stop offering them; harmless when they were not offered."""
        watchers = self._watchers.get(symbol)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._watchers[symbol]
