"""What an operator lets through: ACTIVE, REDUCE_ONLY or HALTED, per scope."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TradingState(StrEnum):
    """Declared from free to strict; of several states the strictest holds."""

    ACTIVE = "ACTIVE"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"

    @property
    def strictness(self) -> int:
        """0 for ACTIVE, 1 for REDUCE_ONLY, 2 for HALTED."""
        return _STRICTNESS[self]


_STRICTNESS = {state: rank for rank, state in enumerate(TradingState)}


class ScopeKind(StrEnum):
    """What a halt covers."""

    GLOBAL = "GLOBAL"
    ACCOUNT = "ACCOUNT"
    STRATEGY = "STRATEGY"
    SYMBOL = "SYMBOL"


@dataclass(frozen=True, slots=True)
class Scope:
    """A halt's reach; `scope_id` is empty for GLOBAL."""

    kind: ScopeKind
    scope_id: str = ""

    def __str__(self) -> str:
        """`GLOBAL`, or for instance `SYMBOL:AAPL`: the form in the journal and in Redis."""
        return f"{self.kind}:{self.scope_id}" if self.scope_id else str(self.kind)

    @classmethod
    def parse(cls, written: str) -> Scope:
        """Read what `str` wrote."""
        kind, _, scope_id = written.partition(":")
        return cls(ScopeKind(kind), scope_id)

    def covers(self, account_id: str, strategy_id: str, symbol: str) -> bool:
        """Say whether an order of this account, strategy and symbol is within the scope."""
        match self.kind:
            case ScopeKind.GLOBAL:
                return True
            case ScopeKind.ACCOUNT:
                return self.scope_id == account_id
            case ScopeKind.STRATEGY:
                return self.scope_id == strategy_id
            case ScopeKind.SYMBOL:  # pragma: no branch  the last of all kinds
                return self.scope_id == symbol


GLOBAL = Scope(ScopeKind.GLOBAL)


@dataclass(frozen=True, slots=True)
class ScopeState:
    """A trading state that an operator set on a scope: why, who and when (ns)."""

    scope: Scope
    state: TradingState
    reason: str
    operator: str
    set_at_ns: int


def strictest(states: list[ScopeState]) -> ScopeState | None:
    """The state that holds where several scopes cover; None where none was set.

    Of equally strict ones a strategy's own comes last: it asks less of an order that closes.
    """
    return max(
        states,
        key=lambda each: (each.state.strictness, each.scope.kind is not ScopeKind.STRATEGY),
        default=None,
    )
