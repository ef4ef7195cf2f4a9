"""What a decision looks at: one frozen slice of the account, and everything else it depends on.

The journal keeps all of it with the decision, so that the decision can be made again from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.account import scope_state_from_json, scope_state_json
from trade_engine.domain.limits import Limit, Rate
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.rulebook import StrategyTerms
from trade_engine.domain.session import Session
from trade_engine.domain.signal import Signal
from trade_engine.domain.trading_state import ScopeState
from trade_engine.risk.fx import Exchange
from trade_engine.risk.standing import Standing


@dataclass(slots=True)
class Throttle:
    """What the throttle said of this signal, and the rate it said it by.

    rate is None when no rate is set, which refuses. Waiting is in ns.
    """

    rate: Rate | None
    allowed: bool
    remaining: int
    retry_after_ns: int


@dataclass(slots=True)
class Worth:
    """What the account's losses are counted from, in its currency; None where it is not known."""

    start_equity: Decimal | None
    peak_equity: Decimal | None


@dataclass(slots=True)
class View:
    """The account as one signal meets it. Quantities are signed; working ones are positive.

    trading is the strictest state that covers the signal (None: ACTIVE). quantity and working_*
    are the strategy's own in the symbol; symbol_* are the account's, over all strategies.
    other_gross is the worst-case value of all other symbols; missing_marks names those of them that
    have no usable price (their value is then unknown). equity is None where a price is missing.
    worth and standing are None only in what was decided before they were looked at.
    """

    sequence: int
    trading: ScopeState | None
    quantity: Decimal
    working_buy: Decimal
    working_sell: Decimal
    symbol_quantity: Decimal
    symbol_working_buy: Decimal
    symbol_working_sell: Decimal
    other_gross: Decimal
    equity: Decimal | None
    missing_marks: list[str] = field(default_factory=list)
    worth: Worth | None = None
    standing: Standing | None = None

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal; what is not known of worth is left empty."""
        doc: dict[str, Any] = {
            "sequence": self.sequence,
            "trading": scope_state_json(self.trading) if self.trading else None,
            "quantity": text(self.quantity),
            "working_buy": text(self.working_buy),
            "working_sell": text(self.working_sell),
            "symbol_quantity": text(self.symbol_quantity),
            "symbol_working_buy": text(self.symbol_working_buy),
            "symbol_working_sell": text(self.symbol_working_sell),
            "other_gross": text(self.other_gross),
            "equity": optional_text(self.equity),
            "missing_marks": self.missing_marks,
        }
        if self.worth is not None:
            doc["start_equity"] = optional_text(self.worth.start_equity)
            doc["peak_equity"] = optional_text(self.worth.peak_equity)
        if self.standing is not None:
            doc["standing"] = self.standing.to_json()
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> View:
        """Read what `to_json` wrote."""
        return cls(
            sequence=int(doc["sequence"]),
            trading=scope_state_from_json(doc["trading"]) if doc["trading"] else None,
            quantity=Decimal(doc["quantity"]),
            working_buy=Decimal(doc["working_buy"]),
            working_sell=Decimal(doc["working_sell"]),
            symbol_quantity=Decimal(doc["symbol_quantity"]),
            symbol_working_buy=Decimal(doc["symbol_working_buy"]),
            symbol_working_sell=Decimal(doc["symbol_working_sell"]),
            other_gross=Decimal(doc["other_gross"]),
            equity=Decimal(doc["equity"]) if doc["equity"] else None,
            missing_marks=list(doc["missing_marks"]),
            worth=_worth_from_json(doc) if "start_equity" in doc else None,
            standing=Standing.from_json(doc["standing"]) if "standing" in doc else None,
        )


def _worth_from_json(doc: dict[str, Any]) -> Worth:
    start, peak = doc["start_equity"], doc["peak_equity"]
    return Worth(Decimal(start) if start else None, Decimal(peak) if peak else None)


@dataclass(frozen=True, slots=True)
class Hours:
    """When the instrument trades: the session of its calendar that now is in, or the next.

    session is None when the calendar has ended.
    """

    calendar: str
    session: Session | None

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal."""
        session = self.session.to_json() if self.session else None
        return {"calendar": self.calendar, "session": session}

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Hours:
        """Read what `to_json` wrote."""
        return cls(doc["calendar"], Session.from_json(doc["session"]) if doc["session"] else None)


@dataclass(slots=True)
class Inputs:
    """Everything that a decision depends on, and nothing else.

    limits are those in force for the signal's account, strategy and symbol, by name. instrument
    and quote are None when unknown. currency is the account's; broker is where its orders go.
    delivery is SENDING where this process sends them at once, QUEUED where another one does. hours
    is None where the instrument is unknown, and in what was decided before there were sessions.
    earlier is a quote of the symbol from before, which the price is held against. account_throttle
    is None in decisions from before there was one. strategy is what is configured of the signal's
    strategy, None where it is not listed; strategies_listed says whether any is. closing: an
    operator closes the position, and has asked for all of them in a scope to be closed.
    """

    signal: Signal
    now_ns: int
    view: View
    instrument: Instrument | None
    quote: Quote | None
    limits: dict[str, Limit]
    limits_version: str
    throttle: Throttle
    currency: str
    broker: str
    delivery: DeliveryState
    hours: Hours | None = None
    books_fault: str | None = None
    """What keeps a firm's own books from being relied on; None where it keeps none."""
    earlier: Quote | None = None
    account_throttle: Throttle | None = None
    strategy: StrategyTerms | None = None
    strategies_listed: bool = False
    closing: bool = False
    exchange: Exchange | None = None
    """What converts the instrument's money; None where nothing has to be, or can be, converted."""
