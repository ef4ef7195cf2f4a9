"""What the demo has seen so far, and whether it all agrees."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.client import (
    Decision,
    ExecType,
    Failed,
    Order,
    OrderSide,
    OrderUpdate,
    OrdStatus,
    Outcome,
    Position,
    Result,
)

_TRADE = ExecType.Value("EXEC_TYPE_TRADE")
_BUY = OrderSide.Value("ORDER_SIDE_BUY")
_APPROVED = Outcome.Value("OUTCOME_APPROVED")
_DONE = frozenset(
    OrdStatus.Value(f"ORD_STATUS_{name}") for name in ("FILLED", "CANCELED", "REJECTED", "EXPIRED")
)


@dataclass(slots=True)
class Tally:
    """Counts of everything; faults are what should never happen, in words.

    Two threads write to it: the one that submits, and the one that follows the orders.
    """

    days: int = 0
    quotes: int = 0
    signals: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    example_of: dict[str, str] = field(default_factory=dict)
    approved: set[str] = field(default_factory=set)
    filled: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    answered: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    fills: int = 0
    over: bool = False
    faults: list[str] = field(default_factory=list)

    def decided(self, result: Result) -> None:
        """Count what became of a signal."""
        self.signals += 1
        if isinstance(result, Failed):
            self.faults.append(f"signal {result.signal_id} was not decided: {result.error}")
            return
        decision: Decision = result.decision
        word = Outcome.Name(decision.outcome).removeprefix("OUTCOME_")
        self.outcomes[word] += 1
        if decision.outcome == _APPROVED:
            self.approved.add(decision.order_id)
        for check in decision.checks if word == "REJECTED" else ():
            if not check.passed:
                self.refusals[check.reason] += 1
                self.example_of.setdefault(check.reason, check.message)

    def unanswered(self) -> set[str]:
        """Approved orders that have neither filled nor ended."""
        return self.approved - self.answered.copy()

    def rest(self) -> None:
        """Whatever has no answer now rests in the book, and is not waited for again."""
        self.answered |= self.approved

    def open_orders(self) -> list[str]:
        """Approved orders that have not ended."""
        return sorted(self.approved - self.done.copy())

    def watch_ended(self, why: str) -> None:
        """The stream of updates ended, which it may once all is done."""
        if not self.over:
            self.faults.append(f"the stream of order updates ended: {why}")

    def changed(self, update: OrderUpdate) -> Decimal:
        """Count an order's change; the signed quantity that it filled."""
        report = update.execution_report
        quantity = Decimal(0)
        if report.exec_type == _TRADE:
            self.fills += 1
            quantity = Decimal(report.last_qty)
            self.filled[update.order.order_id] += quantity
            self.answered.add(update.order.order_id)
        if update.order.ord_status in _DONE:
            self.answered.add(update.order.order_id)
            self.done.add(update.order.order_id)
        return quantity if update.order.side == _BUY else -quantity

    def check(self, orders: Iterable[Order], positions: Iterable[Position]) -> None:
        """Hold what was told along the way against what the engine says at the end."""
        found = {order.order_id: order for order in orders}
        for order_id in sorted(found.keys() ^ self.approved):
            self.faults.append(f"order {order_id} is not both approved and there")
        held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for order in found.values():
            if Decimal(order.cum_qty) != self.filled[order.order_id]:
                self.faults.append(
                    f"order {order.order_id} has {order.cum_qty} filled, the stream told "
                    f"{self.filled[order.order_id]}"
                )
            sign = 1 if order.side == _BUY else -1
            held[order.strategy_id, order.symbol] += sign * Decimal(order.cum_qty)
        for position in positions:
            sum_of_fills = held.pop((position.strategy_id, position.symbol), Decimal(0))
            if Decimal(position.quantity) != sum_of_fills:
                self.faults.append(
                    f"position {position.strategy_id} {position.symbol} is {position.quantity}, "
                    f"its fills make {sum_of_fills}"
                )
        for (strategy_id, symbol), quantity in held.items():
            if quantity:
                self.faults.append(f"there is no position {strategy_id} {symbol} of {quantity}")

    def summary(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "days": self.days,
            "quotes": self.quotes,
            "signals": self.signals,
            "outcomes": dict(self.outcomes),
            "orders": len(self.approved),
            "fills": self.fills,
            "refusals": dict(self.refusals),
            "faults": self.faults,
        }
