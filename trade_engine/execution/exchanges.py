"""What converts foreign money within one batch, by the quotes that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from trade_engine.domain.fx import FxPair
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order
from trade_engine.domain.rulebook import Rulebook
from trade_engine.risk.fx import Exchange, NoRate, Rate


class Exchanges:
    """The pairs of a rulebook into an account's currency, each rate looked at once."""

    def __init__(
        self,
        rulebook: Rulebook,
        currency: str,
        quotes: Mapping[str, Quote],
        earlier: Mapping[str, Quote],
        now_ns: int,
    ) -> None:
        self._rulebook = rulebook
        self._currency = currency
        self._quotes = quotes
        self._earlier = earlier
        self._now_ns = now_ns
        self._rates: dict[FxPair, Rate | NoRate] = {}

    def of(self, symbol: str) -> Exchange | None:
        """What converts an instrument's money; None where nothing has to be converted."""
        if not self._rulebook.fx:
            return None
        pair = self._rulebook.fx_pair(symbol, self._currency)
        return None if pair is None else self._exchange(pair)

    def _exchange(self, pair: FxPair) -> Exchange:
        return Exchange(pair, self._quotes.get(pair.symbol), self._earlier.get(pair.symbol))

    def rate(self, symbol: str) -> Rate | NoRate | None:
        """At what it is converted now, or why it cannot be; None where nothing has to be."""
        if not self._rulebook.fx:
            return None
        pair = self._rulebook.fx_pair(symbol, self._currency)
        return None if pair is None else self.pair_rate(pair)

    def pair_rate(self, pair: FxPair) -> Rate | NoRate:
        """What a pair converts at now, or why it does not."""
        found = self._rates.get(pair)
        if found is None:
            found = self._rates[pair] = self._exchange(pair).rate(self._now_ns)
        return found

    def booking_rate(self, order: Order) -> Decimal | None:
        """At what a fill of an order is booked; None where nothing has to be converted.

        A fill is a fact, whatever the quotes are: where they give no rate now, it is booked at the
        one that the order was approved with.

        Raises:
            ValueError: there is neither; the order was approved in another currency.
        """
        rate = self.rate(order.symbol)
        if rate is None:
            return None
        if isinstance(rate, Rate):
            return rate.reference
        if order.fx_rate is None:
            raise ValueError(f"order {order.order_id} has no rate of exchange: {rate.why}")
        return order.fx_rate

    def pairs(self, symbols: Iterable[str]) -> list[FxPair]:
        """What converts the money of these symbols, by name."""
        found = {self._rulebook.fx_pair(each, self._currency) for each in symbols}
        return sorted((each for each in found if each is not None), key=lambda each: each.name)
