"""A position, at average cost, of one strategy in one symbol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.money import ZERO, optional, quotient, text


@dataclass(slots=True)
class Position:
    """Signed quantity and what it cost.

    cost is the signed money paid for what is held (quantity * average price * multiplier), so that
    cost and realized profit together are conserved exactly. realized_pnl is gross of fees; fees
    are what was paid in all. All money is in the account's currency, each fill's at the rate of its
    day. Where the instrument's is another one, local_cost is the same cost in that; else None.
    """

    strategy_id: str
    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    local_cost: Decimal | None = None

    @property
    def own_cost(self) -> Decimal:
        """The cost in the instrument's currency."""
        return self.cost if self.local_cost is None else self.local_cost

    def avg_px(self, multiplier: Decimal) -> Decimal:
        """Average price of what is held, in the instrument's currency; 0 when flat."""
        return quotient(self.own_cost, self.quantity * multiplier) if self.quantity else ZERO

    def unrealized_pnl(self, mark: Decimal, multiplier: Decimal) -> Decimal:
        """What closing at `mark` would realize, before fees.

        multiplier is what one unit at price 1 is worth in the account's currency.
        """
        return self.quantity * mark * multiplier - self.cost

    def to_json(self) -> dict[str, str]:
        """The canonical form in Redis and in the journal; local_cost only where there is one."""
        doc = {
            "strategy_id": self.strategy_id,
            "symbol": self.symbol,
            "quantity": text(self.quantity),
            "cost": text(self.cost),
            "realized_pnl": text(self.realized_pnl),
            "fees": text(self.fees),
        }
        if self.local_cost is not None:
            doc["local_cost"] = text(self.local_cost)
        return doc

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
            local_cost=optional(doc.get("local_cost")),
        )
