"""Signals to be judged: everything that a decision depends on, easy to vary one by one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.support.wide import wide_limits
from trade_engine.domain.decision import CheckResult, Decision
from trade_engine.domain.limits import Limit, Rate
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.signal import Side, Signal, TimeHorizon
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeState, TradingState
from trade_engine.risk.pre_trade import decide
from trade_engine.risk.standing import Standing
from trade_engine.risk.view import Inputs, Throttle, View

Number = int | str | Decimal
NOW_NS = 1_700_000_000_000_000_000
MS = 1_000_000
STOCK = Instrument("AAPL", Decimal("0.01"), Decimal(1), "USD", "equity")
RATE = Rate(30, 1_000 * MS, 60, "limits.toml:default")
SIGNAL = Signal(
    signal_id="s-1",
    account_id="main",
    strategy_id="momentum",
    symbol="AAPL",
    side=Side.BUY,
    confidence=Decimal("0.8"),
    target_exposure=Decimal(1000),
    time_horizon=TimeHorizon.INTRADAY,
    max_slippage_bps=ZERO,
    created_at_ns=NOW_NS,
)
STANDING = Standing(cash=Decimal(100_000))


def signal(target: Number = 1000, side: Side = Side.BUY, **changes: Any) -> Signal:
    """A wish for 10 shares of AAPL at 100, sent now, unless said otherwise."""
    return replace(SIGNAL, target_exposure=Decimal(target), side=side, **changes)


def quote(price: Number = 100, *, age_ms: Number = 0, **changes: Any) -> Quote:
    """A market without a spread."""
    at = Decimal(price)
    time_ns = NOW_NS - int(Decimal(age_ms) * MS)
    return replace(Quote("AAPL", at, at, None, None, None, time_ns, "test"), **changes)


def view(
    quantity: Number = 0,
    working_buy: Number = 0,
    working_sell: Number = 0,
    *,
    others: tuple[Number, Number, Number] = (0, 0, 0),
    trading: ScopeState | None = None,
    other_gross: Number = 0,
    equity: Number | None = 100_000,
    missing_marks: tuple[str, ...] = (),
    standing: Standing | None = STANDING,
) -> View:
    """The strategy's own in the symbol; others is what the other strategies have in it."""
    held, buys, sells = Decimal(quantity), Decimal(working_buy), Decimal(working_sell)
    return View(
        sequence=7,
        trading=trading,
        quantity=held,
        working_buy=buys,
        working_sell=sells,
        symbol_quantity=held + Decimal(others[0]),
        symbol_working_buy=buys + Decimal(others[1]),
        symbol_working_sell=sells + Decimal(others[2]),
        other_gross=Decimal(other_gross),
        equity=None if equity is None else Decimal(equity),
        missing_marks=list(missing_marks),
        standing=standing,
    )


def limits(**values: Number | None) -> dict[str, Limit]:
    """Wide ones, but for those given by name; None is not set."""
    return wide_limits("limits.toml:{name}", **values)


def inputs(**changes: Any) -> Inputs:
    """All that a decision needs, such that 10 shares are bought for 1000."""
    given: dict[str, Any] = {
        "signal": signal(),
        "now_ns": NOW_NS,
        "view": view(),
        "instrument": STOCK,
        "quote": quote(),
        "limits": limits(),
        "limits_version": "v1",
        "throttle": Throttle(RATE, allowed=True, remaining=60, retry_after_ns=0),
        "account_throttle": Throttle(RATE, allowed=True, remaining=60, retry_after_ns=0),
        "earlier": quote(),
        "currency": "USD",
        "broker": "paper",
        "delivery": DeliveryState.QUEUED,
    }
    return Inputs(**(given | changes))


def told_to(state: TradingState, scope: Scope = GLOBAL) -> ScopeState:
    """A trading state that an operator set."""
    return ScopeState(scope, state, "a test", "olga", NOW_NS)


def judged(name: str, **changes: Any) -> tuple[Decision, CheckResult | None]:
    """A decision, and what one of its checks said; None when it had nothing to judge."""
    decision = decide(inputs(**changes))
    found = [check for check in decision.checks if check.name == name]
    assert len(found) <= 1
    return decision, found[0] if found else None
