"""What an account holds, as one picture of one moment: the value behind GetPortfolio."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.money import ZERO, quotient
from trade_engine.domain.position import Position


@dataclass(frozen=True, slots=True)
class Holding:
    """A signed quantity over all strategies, and the average price, in the symbol's currency."""

    quantity: Decimal
    avg_px: Decimal


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Cash and equity in `currency`, and what is held by symbol, as of an instant in ns."""

    account_id: str
    currency: str
    cash: Decimal
    equity: Decimal
    holdings: dict[str, Holding]
    as_of_ns: int


def holding(positions: Iterable[Position], multiplier: Decimal) -> Holding:
    """One symbol's position over all strategies.

    Opposite sides of two strategies cancel out: what is left has the average price of its side.
    """
    held = [each for each in positions if each.quantity]
    quantity = sum((each.quantity for each in held), ZERO)
    side = [each for each in held if each.quantity * quantity > 0]
    size = sum((each.quantity for each in side), ZERO)
    cost = sum((each.own_cost for each in side), ZERO)
    return Holding(quantity, quotient(cost, size * multiplier) if size else ZERO)
