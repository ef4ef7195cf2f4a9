"""A trend follower on two moving averages: the strategy that `trade-engine demo` runs.

The stronger the trend (the further the short average is above the long one), the more it wants to
hold, in steps. It does not know the engine's limits: what is refused it asks for again, in smaller
pieces, and where that would add to a position only after a while.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

STEP_NOTIONAL = 30_000.0
"""What one step of strength is worth."""
STEP_GAP = 0.04
"""How far the averages are apart for one step of strength."""
STEPS_MAX = 3
PATIENCE = 20
"""How many prices it waits before it asks again for more of what it was refused."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the strategy wants to hold of a symbol now, as a signal has it."""

    symbol: str
    side: str
    confidence: float
    target_exposure: float

    def signal(self, strategy_id: str) -> dict[str, Any]:
        """The JSON form of the signal, but for its id."""
        return {
            "strategy_id": strategy_id,
            "symbol": self.symbol,
            "side": self.side,
            "confidence": self.confidence,
            "target_exposure": self.target_exposure,
            "time_horizon": "SWING",
            "constraints": {"max_slippage_bps": 25},
        }


class MovingAverages:
    """One strategy over any number of symbols; `short` and `long` are counted in prices."""

    def __init__(self, short: int, long: int) -> None:
        self._short = short
        self._long = long
        self._prices: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=long))
        self._quantity: dict[str, float] = defaultdict(float)
        self._refused: dict[str, int] = {}

    def on_price(self, symbol: str, price: float) -> Wish | None:
        """Take in the next price; answers with a wish when it holds too much or too little."""
        prices = self._prices[symbol]
        prices.append(price)
        if len(prices) < self._long:
            return None
        gap = sum(list(prices)[-self._short :]) / self._short / (sum(prices) / self._long) - 1
        wanted = max(0, min(STEPS_MAX, round(gap / STEP_GAP))) * STEP_NOTIONAL
        held = self._quantity[symbol] * price
        change = self._bounded(symbol, wanted - held)
        if abs(change) < STEP_NOTIONAL / 2 and (wanted or not held):
            return None
        return Wish(
            symbol=symbol,
            side="BUY" if change > 0 else "SELL",
            confidence=round(min(1.0, 0.5 + abs(gap)), 4),
            target_exposure=round(held + change, 2),
        )

    def _bounded(self, symbol: str, change: float) -> float:
        """After a refusal one step at a time, and more of it only with patience."""
        if symbol not in self._refused:
            return change
        self._refused[symbol] -= 1
        if self._refused[symbol] <= 0:
            del self._refused[symbol]
        elif change > 0:
            return 0.0
        return max(-STEP_NOTIONAL, min(STEP_NOTIONAL, change))

    def on_refusal(self, symbol: str) -> None:
        """Take in that the last wish was refused."""
        self._refused[symbol] = PATIENCE

    def on_fill(self, symbol: str, quantity: float) -> None:
        """Take in what was bought, or sold: negative."""
        self._quantity[symbol] += quantity
