"""The state of an account at one journal sequence: what a decision looks at.

It is a fold of the account's journal. Postgres keeps it in tables (the record), Redis as one hash
(the copy that every replica decides on), the writer in memory while nobody else has written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.activity import Activity
from trade_engine.domain.day import Day
from trade_engine.domain.difference import Difference
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState

GENESIS_HASH = bytes(32)
"""What the first journal entry of an account is chained to."""

ENGINE = "engine"
"""Who set a trading state that no operator set."""

PositionKey = tuple[str, str]
"""(strategy_id, symbol)"""


@dataclass(slots=True)
class AccountState:
    """Everything about an account that changes, as of journal entry `sequence`.

    head_hash is that entry's hash. epoch names the record that the state belongs to: a copy with
    another epoch is of another database. orders holds the open ones only. Money is in `currency`;
    realized_pnl is gross of fees and over the account's life. limits_number is that of the last
    change of limits that its journal took, at limits_sequence; limits_version is its rulebook's.
    They are 0 and "" before the first.
    """

    account_id: str
    currency: str
    epoch: str
    sequence: int
    head_hash: bytes
    cash: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    limits_version: str = ""
    limits_number: int = 0
    limits_sequence: int = 0
    day: Day = field(default_factory=Day)
    activity: Activity = field(default_factory=Activity)
    trading: dict[Scope, ScopeState] = field(default_factory=dict)
    positions: dict[PositionKey, Position] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    """What does not agree with the broker, by difference_id; the accepted ones too."""
    books_differences: dict[str, Difference] = field(default_factory=dict)
    """What does not agree with the firm's own books, by difference_id; nothing waits for it."""
    unattributed: list[dict[str, Any]] = field(default_factory=list)
    """Reports of orders that are not known (yet): {"broker", "report"}, the first few of them."""

    def position(self, strategy_id: str, symbol: str) -> Position:
        """The position of a strategy in a symbol, made flat if there was none."""
        key = (strategy_id, symbol)
        found = self.positions.get(key)
        if found is None:
            found = self.positions[key] = Position(strategy_id, symbol)
        return found

    @property
    def disagreement(self) -> ScopeState | None:
        """What holds the account while it differs from its broker in what nobody accepted."""
        standing = [each for each in self.differences.values() if each.stands]
        if not standing:
            return None
        more = f" (and {len(standing) - 1} more)" if len(standing) > 1 else ""
        return ScopeState(
            Scope(ScopeKind.ACCOUNT, self.account_id),
            TradingState.HALTED,
            f"it does not agree with its broker: {standing[0].message}{more}",
            ENGINE,
            standing[0].found_at_ns,
        )

    def summary_json(self) -> dict[str, Any]:
        """The part of the state that is one per account, in its canonical form.

        differences, books_differences and unattributed are there only when there are any.
        """
        doc: dict[str, Any] = {
            "currency": self.currency,
            "cash": text(self.cash),
            "realized_pnl": text(self.realized_pnl),
            "fees": text(self.fees),
            "limits_version": self.limits_version,
            "limits_number": self.limits_number,
            "limits_sequence": self.limits_sequence,
            "day": self.day.to_json(),
            "activity": self.activity.to_json(),
            "trading": [
                scope_state_json(self.trading[scope]) for scope in sorted(self.trading, key=str)
            ],
        }
        if self.differences:
            doc["differences"] = [each.to_json() for each in self.differences.values()]
        if self.books_differences:
            doc["books_differences"] = [each.to_json() for each in self.books_differences.values()]
        if self.unattributed:
            doc["unattributed"] = self.unattributed
        return doc

    def read_summary(self, doc: dict[str, Any]) -> None:
        """Take over what `summary_json` wrote; one from before there were days rolls at once."""
        self.currency = doc["currency"]
        self.cash = Decimal(doc["cash"])
        self.realized_pnl = Decimal(doc["realized_pnl"])
        self.fees = Decimal(doc["fees"])
        self.limits_version = doc["limits_version"]
        self.limits_number = doc.get("limits_number", 0)  # none before changes had numbers
        self.limits_sequence = doc.get("limits_sequence", 0)
        self.day = Day.from_json(doc["day"]) if "day" in doc else Day()
        self.activity = Activity.from_json(doc["activity"]) if "activity" in doc else Activity()
        states = [scope_state_from_json(each) for each in doc["trading"]]
        self.trading = {each.scope: each for each in states}
        differences = map(Difference.from_json, doc.get("differences", ()))
        self.differences = {each.difference_id: each for each in differences}
        of_books = map(Difference.from_json, doc.get("books_differences", ()))
        self.books_differences = {each.difference_id: each for each in of_books}
        self.unattributed = doc.get("unattributed", [])


def scope_state_json(state: ScopeState) -> dict[str, Any]:
    """A scope's trading state in its canonical form."""
    return {
        "scope": str(state.scope),
        "state": state.state.value,
        "reason": state.reason,
        "operator": state.operator,
        "set_at_ns": state.set_at_ns,
    }


def scope_state_from_json(doc: dict[str, Any]) -> ScopeState:
    """Read what `scope_state_json` wrote."""
    return ScopeState(
        scope=Scope.parse(doc["scope"]),
        state=TradingState(doc["state"]),
        reason=doc["reason"],
        operator=doc["operator"],
        set_at_ns=int(doc["set_at_ns"]),
    )
