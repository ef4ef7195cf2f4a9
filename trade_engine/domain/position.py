"""A position, at average cost, of one strategy in one symbol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.money import ZERO, quotient, text


@dataclass(slots=True)
class Position:
    """Signed quantity and what it cost.

    cost is the signed money paid for what is held (quantity * average price * multiplier), so that
    cost and realized profit together are conserved exactly. realized_pnl is gross of fees; fees
    are what was paid in all. All money is in the account's currency.
    """

    strategy_id: str
    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO

    def avg_px(self, multiplier: Decimal) -> Decimal:
        """Average price of what is held; 0 when flat."""
        return quotient(self.cost, self.quantity * multiplier) if self.quantity else ZERO

    def unrealized_pnl(self, mark: Decimal, multiplier: Decimal) -> Decimal:
        """What closing at `mark` would realize, before fees."""
        return self.quantity * mark * multiplier - self.cost

    def to_json(self) -> dict[str, str]:
        """The canonical form in Redis and in the journal."""
        return {
            "strategy_id": self.strategy_id,
            "symbol": self.symbol,
            "quantity": text(self.quantity),
            "cost": text(self.cost),
            "realized_pnl": text(self.realized_pnl),
            "fees": text(self.fees),
        }

    @classmethod
    def from_json(cls, doc: dict[str, str]) -> Position:
        """Read what `to_json` wrote, or a row of the positions table under the same names."""
        return cls(
            strategy_id=doc["strategy_id"],
            symbol=doc["symbol"],
            quantity=Decimal(doc["quantity"]),
            cost=Decimal(doc["cost"]),
            realized_pnl=Decimal(doc["realized_pnl"]),
            fees=Decimal(doc["fees"]),
        )
