"""What an account's strategies have done of late: orders approved, kept as part of its state.

It is a fold of the journal: every approved decision adds to it, an operator's resume begins the
count of executions anew. It is bounded: an approval is forgotten once no rule asks for it, and of
more than `APPROVALS_MAX` the oldest go first: then it is remembered that something was forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.money import text
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeKind

APPROVALS_MAX = 256


@dataclass(frozen=True, slots=True)
class Approval:
    """An order that was approved, as far as another one may be equal to it; at_ns is when."""

    side: Side
    quantity: Decimal
    at_ns: int


_Key = tuple[str, str, Side, Decimal]


@dataclass(slots=True)
class Activity:
    """Orders of each strategy since it was last enabled, and the last ones of each kind.

    forgotten_ns is when the last one was approved that was forgotten while a rule might still ask
    for it; 0 if there never was one.
    """

    executions: dict[str, int] = field(default_factory=dict)
    forgotten_ns: int = 0
    _approved: dict[_Key, int] = field(default_factory=dict)

    def approve(
        self,
        strategy_id: str,
        symbol: str,
        side: Side,
        quantity: Decimal,
        at_ns: int,
        keep_ns: int,
    ) -> None:
        """Count an approved order; what is older than keep_ns before it is forgotten."""
        self.executions[strategy_id] = self.executions.get(strategy_id, 0) + 1
        approved, asked_for_ns = self._approved, at_ns - keep_ns
        key = (strategy_id, symbol, side, quantity)
        approved.pop(key, None)  # the newest stands last
        while approved:
            oldest = next(iter(approved))
            if approved[oldest] >= asked_for_ns:
                if len(approved) < APPROVALS_MAX:
                    break
                self.forgotten_ns = max(self.forgotten_ns, approved[oldest])
            del approved[oldest]
        if keep_ns:
            approved[key] = at_ns

    def approvals(self, strategy_id: str, symbol: str) -> list[Approval]:
        """The last approvals of a strategy in a symbol, of each kind the latest."""
        return [
            Approval(key[2], key[3], at_ns)
            for key, at_ns in self._approved.items()
            if key[0] == strategy_id and key[1] == symbol
        ]

    def enable(self, scope: Scope) -> None:
        """Begin to count anew for the strategies that an operator lets trade again.

        A symbol's resume says nothing of strategies.
        """
        if scope.kind is ScopeKind.STRATEGY:
            self.executions.pop(scope.scope_id, None)
        elif scope.kind is not ScopeKind.SYMBOL:
            self.executions.clear()

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the summary; forgotten_ns is there only when it says something."""
        doc: dict[str, Any] = {
            "executions": self.executions,
            "approved": [
                [strategy_id, symbol, side.value, text(quantity), at_ns]
                for (strategy_id, symbol, side, quantity), at_ns in self._approved.items()
            ],
        }
        if self.forgotten_ns:
            doc["forgotten_ns"] = self.forgotten_ns
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Activity:
        """Read what `to_json` wrote."""
        return cls(
            {name: int(count) for name, count in doc["executions"].items()},
            int(doc.get("forgotten_ns", 0)),
            {
                (strategy_id, symbol, Side(side), Decimal(quantity)): int(at_ns)
                for strategy_id, symbol, side, quantity, at_ns in doc["approved"]
            },
        )
