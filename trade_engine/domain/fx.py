"""Foreign currencies: the pairs that convert them, and what a quote of one makes of money.

A rate is what one unit of a foreign currency is worth in the account's. An exact product of it is
never rounded; only a rate that is quoted the other way round is a quotient.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from trade_engine.domain.market import Quote
from trade_engine.domain.money import ONE, quotient, text


@dataclass(frozen=True, slots=True)
class FxPair:
    """How money in `base` becomes money in `terms`: by the quotes of a symbol.

    The symbol's prices are what one `base` costs in `terms`; inverse: what one `terms` costs in
    `base`. A quote further than age_ms_max from now, or whose price is further than band_bps_max
    from the earlier quote's, converts nothing.
    """

    base: str
    terms: str
    symbol: str
    age_ms_max: Decimal
    band_bps_max: Decimal
    inverse: bool = False

    @property
    def name(self) -> str:
        """Both currencies, as markets write a pair: EURUSD."""
        return self.base + self.terms

    def rate(self, price: Decimal) -> Decimal:
        """What one `base` is worth at a price of the symbol."""
        return quotient(ONE, price) if self.inverse else price

    def worst_rate(self, quote: Quote, reference: Decimal) -> Decimal:
        """The most that one `base` is worth by a sane quote: exposures are counted by it.

        That is the offer; of a symbol quoted the other way round it is one by the bid, rounded up.
        """
        if self.inverse:
            price = reference if quote.bid is None else min(quote.bid, reference)
            return quotient(ONE, price, ROUND_CEILING)
        return reference if quote.ask is None else max(quote.ask, reference)

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the rulebook."""
        return {
            "pair": self.name,
            "symbol": self.symbol,
            "inverse": self.inverse,
            "age_ms_max": text(self.age_ms_max),
            "band_bps_max": text(self.band_bps_max),
        }

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> FxPair:
        """Read what `to_json` wrote."""
        return cls(
            base=doc["pair"][:3],
            terms=doc["pair"][3:],
            symbol=doc["symbol"],
            age_ms_max=Decimal(doc["age_ms_max"]),
            band_bps_max=Decimal(doc["band_bps_max"]),
            inverse=doc["inverse"],
        )
