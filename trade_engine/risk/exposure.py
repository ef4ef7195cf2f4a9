"""Worst-case exposure of an account: what is held plus whatever may still fill, per side.

The worst case of a symbol is the larger of "every working buy fills" and "every working sell
fills", valued at the symbol's reference price (SEC 15c3-5 and RTS 6 Art. 15(2): orders count when
they are entered, not when they execute).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.domain.market import Instrument
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side

UnitValue = Callable[[str], Decimal | None]
"""Value of one unit of a symbol (reference price times multiplier); None when it has none now."""


@dataclass(slots=True)
class Held:
    """Signed quantity held, and unsigned quantities working per side."""

    quantity: Decimal = ZERO
    working_buy: Decimal = ZERO
    working_sell: Decimal = ZERO

    def worst_quantity(self, more_buy: Decimal = ZERO, more_sell: Decimal = ZERO) -> Decimal:
        """The largest absolute quantity that may come to be held.

        The longest that it may get, or the shortest: one of the two is the furthest from 0.
        """
        longest = self.quantity + self.working_buy + more_buy
        shortest = self.working_sell + more_sell - self.quantity
        return max(longest, shortest)

    @property
    def is_empty(self) -> bool:
        """Nothing held, nothing working: no price is needed to know its value."""
        return not (self.quantity or self.working_buy or self.working_sell)


@dataclass(slots=True)
class Elsewhere:
    """Worst-case values of all symbols but one; missing are those without a price, not counted.

    See `Standing` for what each is.
    """

    gross: Decimal = ZERO
    net_long: Decimal = ZERO
    net_short: Decimal = ZERO
    funds: Decimal = ZERO
    working: Decimal = ZERO
    asset_gross: Decimal = ZERO
    class_gross: Decimal = ZERO
    missing: list[str] = field(default_factory=list)


class Exposure:
    """Held and working quantities per symbol, and per strategy and symbol, kept up to date.

    Built from the account's positions and open orders, then moved along by `fill` and `work`.
    """

    def __init__(self, positions: Iterable[Position], orders: Iterable[Order]) -> None:
        self._symbols: dict[str, Held] = {}
        self._own: dict[tuple[str, str], Held] = {}
        for position in positions:
            self.fill(position.strategy_id, position.symbol, position.quantity)
        for order in orders:
            self.work(order, order.working_qty)

    def fill(self, strategy_id: str, symbol: str, signed_quantity: Decimal) -> None:
        """Add to what is held."""
        self.of_symbol(symbol).quantity += signed_quantity
        self.own(strategy_id, symbol).quantity += signed_quantity

    def work(self, order: Order, quantity: Decimal) -> None:
        """Add to what is working on the order's side; negative as leaves shrink."""
        for held in (self.of_symbol(order.symbol), self.own(order.strategy_id, order.symbol)):
            if order.side is Side.BUY:
                held.working_buy += quantity
            else:
                held.working_sell += quantity

    def of_symbol(self, symbol: str) -> Held:
        """The account's, over all strategies."""
        held = self._symbols.get(symbol)
        if held is None:
            held = self._symbols[symbol] = Held()
        return held

    def own(self, strategy_id: str, symbol: str) -> Held:
        """One strategy's."""
        key = (strategy_id, symbol)
        held = self._own.get(key)
        if held is None:
            held = self._own[key] = Held()
        return held

    def symbols(self) -> list[str]:
        """Every symbol in which something is held or working."""
        return [symbol for symbol, held in self._symbols.items() if not held.is_empty]

    def symbols_held(self) -> list[str]:
        """Every symbol in which something is held."""
        return [symbol for symbol, held in self._symbols.items() if held.quantity]

    def elsewhere(
        self, symbol: str, unit_value: UnitValue, instruments: Mapping[str, Instrument]
    ) -> Elsewhere:
        """What all symbols but one add up to; in one pass, as it is asked for every signal."""
        found = Elsewhere()
        own = instruments.get(symbol)
        asset, asset_class = (own.asset, own.asset_class) if own else (symbol, "")
        for other, held in self._symbols.items():
            quantity, buys, sells = held.quantity, held.working_buy, held.working_sell
            if other == symbol or not (quantity or buys or sells):
                continue
            value = unit_value(other)
            if value is None:
                found.missing.append(other)
                continue
            longest, shortest = (quantity + buys) * value, (sells - quantity) * value
            worst = max(longest, shortest)
            found.gross += worst
            found.net_long += longest
            found.net_short += shortest
            if buys or quantity < 0:
                found.funds += max(buys, -quantity) * value
            if buys or sells:
                found.working += (buys + sells) * value
            instrument = instruments[other]
            if instrument.asset_class == asset_class:
                found.class_gross += worst
            if instrument.asset == asset:
                found.asset_gross += worst
        found.missing.sort()
        return found

    def gross_without(self, symbol: str, unit_value: UnitValue) -> tuple[Decimal, list[str]]:
        """Worst-case value of all symbols but one, and which of them have no price."""
        gross, missing = ZERO, []
        for other, held in self._symbols.items():
            if other == symbol or held.is_empty:
                continue
            value = unit_value(other)
            if value is None:
                missing.append(other)
            else:
                gross += held.worst_quantity() * value
        return gross, sorted(missing)

    def market_value(self, unit_value: UnitValue) -> Decimal | None:
        """Signed value of everything held; None when something held has no price."""
        total = ZERO
        for symbol, held in self._symbols.items():
            if held.quantity:
                value = unit_value(symbol)
                if value is None:
                    return None
                total += held.quantity * value
        return total
