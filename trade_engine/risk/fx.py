"""Foreign money: at which rate it counts, and when no rate is to be had.

A quote of a pair is held to more than a symbol's: fresh, sane, and within a band of an earlier
quote, since a rate that is wrong makes every number of the instrument wrong. What fails it is no
rate, and what needs one is refused or left out as with a stale quote.

Two numbers come of it. Exposure, notional and cost count at the worst rate (see
`FxPair.worst_rate`); equity, losses and fills at the reference, the middle of bid and ask, as
prices do.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from trade_engine.domain.decision import Reason
from trade_engine.domain.fx import FxPair
from trade_engine.domain.market import Quote
from trade_engine.domain.money import ONE_BPS, ZERO, text
from trade_engine.risk.price import quote_age_ms


class Rate(NamedTuple):
    """What one unit of a foreign currency is worth: in the middle, and at most."""

    reference: Decimal
    worst: Decimal


class NoRate(NamedTuple):
    """Why there is none: a code, and in words."""

    reason: Reason
    why: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A pair, the last quote of its symbol, and the one that is held to."""

    pair: FxPair
    quote: Quote | None
    earlier: Quote | None

    def rate(self, now_ns: int | None) -> Rate | NoRate:
        """The rate by the quote, or what keeps it from being one; None: its age does not matter."""
        pair, quote, earlier = self.pair, self.quote, self.earlier
        if quote is None:
            return NoRate(Reason.FX_QUOTE_MISSING, f"no quote of {pair.symbol} is known")
        told = f"the quote of {quote.symbol} from {quote.source}"
        reference = quote.reference
        if reference is None:
            return NoRate(Reason.FX_QUOTE_INVALID, f"{told} is unusable: {quote.fault()}")
        age_ms = ZERO if now_ns is None else quote_age_ms(quote, now_ns)
        if age_ms > pair.age_ms_max:
            why = f"{told} is {text(age_ms)} ms from now, at most {text(pair.age_ms_max)} are taken"
            return NoRate(Reason.FX_QUOTE_STALE, why)
        before = None if earlier is None else earlier.reference
        if before is None:
            return NoRate(Reason.FX_QUOTE_INVALID, f"{told} has no sane earlier one to be held to")
        if abs(reference - before) > before * pair.band_bps_max * ONE_BPS:
            why = (
                f"{told} is at {text(reference)}, more than {text(pair.band_bps_max)} bps from "
                f"the earlier one at {text(before)}"
            )
            return NoRate(Reason.FX_QUOTE_INVALID, why)
        found = Rate(pair.rate(reference), pair.worst_rate(quote, reference))
        if not found.reference:
            return NoRate(Reason.FX_QUOTE_INVALID, f"{told} makes a {pair.base} worth nothing")
        return found

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal; the pair is the rulebook's."""
        return {
            "quote": self.quote.to_json() if self.quote else None,
            "earlier": self.earlier.to_json() if self.earlier else None,
        }

    @classmethod
    def from_json(cls, pair: FxPair, doc: dict[str, Any]) -> Exchange:
        """Read what `to_json` wrote."""
        quote, earlier = doc["quote"], doc["earlier"]
        return cls(
            pair,
            Quote.from_json(quote) if quote else None,
            Quote.from_json(earlier) if earlier else None,
        )
