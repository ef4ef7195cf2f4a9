"""Equity at given prices: what the day rolls at, what the watch on losses looks at."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.money import ONE, text
from trade_engine.execution.batch import Batch
from trade_engine.risk.fx import NoRate


@dataclass(slots=True)
class Prices:
    """Prices by symbol, each in its currency, and what one unit of a foreign currency is worth."""

    of: dict[str, Decimal] = field(default_factory=dict)
    rates: dict[str, Decimal] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Both as the journal has them; rates only where some were needed."""
        doc = {"prices": {symbol: text(self.of[symbol]) for symbol in sorted(self.of)}}
        if self.rates:
            doc["rates"] = {each: text(self.rates[each]) for each in sorted(self.rates)}
        return doc


def last_prices(batch: Batch) -> tuple[Prices, list[str]]:
    """The last sane price of each symbol held, however old, and the symbols that have none."""
    prices, missing = Prices(), []
    for symbol in batch.exposure.symbols_held():
        quote = batch.quotes.get(symbol)
        reference = None if quote is None else quote.reference
        exchange = batch.exchanges.of(symbol)
        rate = exchange.rate(None) if exchange else None
        if reference is None or isinstance(rate, NoRate):
            missing.append(symbol)
            continue
        prices.of[symbol] = reference
        if exchange is not None and rate is not None:
            prices.rates[exchange.pair.base] = rate.reference
    return prices, sorted(missing)


def equity_at(batch: Batch, prices: Prices) -> Decimal:
    """Cash, and all that is held at these prices."""
    instruments = batch.rulebook.instruments
    total = batch.state.cash
    for symbol, price in prices.of.items():
        held = batch.exposure.of_symbol(symbol).quantity
        rate = ONE
        if prices.rates and symbol in instruments:
            rate = prices.rates.get(instruments[symbol].currency, ONE)
        total += held * price * batch.multiplier(symbol) * rate
    return total
