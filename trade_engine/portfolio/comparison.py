"""A firm's own books held against the engine's ledger: what differs, and what is the same again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.money import ONE_BPS, ZERO, text
from trade_engine.portfolio.view import Portfolio

NAMED_MAX = 20
"""So many symbols are named one by one; the state of an account stays small whatever it is told."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the two may be apart, in amount and in time, without being said to differ.

    cash is in the account's currency, equity_bps of the equity that the books tell. A difference
    must stand for for_ns: a fill is booked at different times here and there.
    """

    cash: Decimal = Decimal(1)
    equity_bps: Decimal = Decimal(10)
    for_ns: int = 5_000_000_000


TOLERANCE = Tolerance()
"""The tolerance where nothing is configured."""


@dataclass(frozen=True, slots=True)
class Ledgered:
    """What the engine's ledger says; equity is None where something held has no usable quote."""

    currency: str
    cash: Decimal
    equity: Decimal | None
    quantities: Mapping[str, Decimal]


def differing(
    ours: Ledgered, told: Portfolio, tolerance: Tolerance, now_ns: int
) -> list[Difference]:
    """Every difference. Quantities must be equal; average prices are each side's own convention.

    In two currencies no sums are compared.
    """
    found = _quantities(ours, told, now_ns)
    if told.currency != ours.currency:
        message = f"the ledger is in {ours.currency}, the firm's books are in {told.currency}"
        currencies = (ours.currency, told.currency)
        return [*found, Difference(DifferenceKind.CURRENCY, "", *currencies, "", message, now_ns)]
    if abs(told.cash - ours.cash) > tolerance.cash:
        found.append(_sums(DifferenceKind.CASH, ours.cash, told.cash, now_ns))
    equity_tolerance = abs(told.equity) * tolerance.equity_bps * ONE_BPS
    if ours.equity is not None and abs(told.equity - ours.equity) > equity_tolerance:
        found.append(_sums(DifferenceKind.EQUITY, ours.equity, told.equity, now_ns))
    return found


def is_same(one: Difference, other: Difference, tolerance: Tolerance) -> bool:
    """Whether two findings of one name say the same.

    The gap in equity moves with every quote: on the same side it is the same.
    """
    if one.kind is DifferenceKind.CASH:
        return abs(Decimal(one.gap) - Decimal(other.gap)) <= tolerance.cash
    if one.kind is DifferenceKind.EQUITY:
        return (Decimal(one.gap) > 0) == (Decimal(other.gap) > 0)
    if one.kind is DifferenceKind.CURRENCY:
        return one.theirs == other.theirs
    return one.gap == other.gap


def _quantities(ours: Ledgered, told: Portfolio, now_ns: int) -> list[Difference]:
    theirs = {symbol: held.quantity for symbol, held in told.holdings.items()}
    symbols = [
        symbol
        for symbol in sorted(ours.quantities.keys() | theirs.keys())
        if ours.quantities.get(symbol, ZERO) != theirs.get(symbol, ZERO)
    ]
    found = []
    for symbol in symbols[:NAMED_MAX]:
        here, there = ours.quantities.get(symbol, ZERO), theirs.get(symbol, ZERO)
        message = f"{text(here)} {symbol} are held here, and {text(there)} by the firm's books"
        numbers = (text(here), text(there), text(there - here))
        found.append(Difference(DifferenceKind.POSITION, symbol, *numbers, message, now_ns))
    more = len(symbols) - NAMED_MAX
    if more > 0:
        message = f"{more} more symbols differ from the firm's books"
        found.append(Difference(DifferenceKind.MORE, "", "", "", str(more), message, now_ns))
    return found


def _sums(kind: DifferenceKind, ours: Decimal, theirs: Decimal, now_ns: int) -> Difference:
    message = f"{kind.lower()} is {text(ours)} here, and {text(theirs)} in the firm's books"
    return Difference(kind, "", text(ours), text(theirs), text(theirs - ours), message, now_ns)
