"""Prices: the reference that sizes and values, and the limit price that bounds slippage."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.market import Quote
from trade_engine.domain.money import ONE, ONE_BPS, ZERO, ceil_to, floor_to
from trade_engine.domain.signal import Side

MS_PER_NS = Decimal("0.000001")
BUY = Side.BUY


def quote_age_ms(quote: Quote, now_ns: int) -> Decimal:
    """How far a quote's time is from now.

    A quote ahead of our clock counts by its distance too: one from tomorrow would else stay fresh
    until then.
    """
    return abs(now_ns - quote.time_ns) * MS_PER_NS


def limit_price(side: Side, reference: Decimal, slippage_bps: Decimal, tick: Decimal) -> Decimal:
    """The worst price accepted: reference moved by the slippage, rounded to the safe side.

    A buyer's limit is rounded down to the tick and a seller's up, so that the distance from the
    reference never exceeds the bound. A seller's is never below one tick; a buyer's is 0 when the
    bound does not reach up to one tick: there is then no price to buy at.
    """
    if side is BUY:
        return floor_to(reference * (ONE + slippage_bps * ONE_BPS), tick)
    bound = reference * (ONE - slippage_bps * ONE_BPS)
    return ceil_to(bound, tick) if bound > ZERO else tick


def worst_unit_value(limit: Decimal, reference: Decimal, multiplier: Decimal) -> Decimal:
    """Money that one unit may come to at worst.

    A buyer pays up to the limit; a seller may get more than the limit. So the larger of limit and
    reference counts, for both.
    """
    return (limit if limit > reference else reference) * multiplier
