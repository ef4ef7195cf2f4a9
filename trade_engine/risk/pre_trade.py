"""The gate's rules: what a signal must pass to become an order.

`decide` computes a decision from values: the signal, the account's state, the limits, the quote,
the clock. It reads nothing else, so that the same inputs give the same decision for ever.

Each check is one small function from a case to its verdict; None means that it has nothing to
judge (no order, or no price to judge it by, which another check refuses). `CHECKS` lists them in
order of precedence: all failures are reported, the first one leads. They stand by subject in the
files beside this one.
"""

from __future__ import annotations

from collections.abc import Callable

from trade_engine.domain.clock import FUTURE_TOLERANCE_NS
from trade_engine.domain.decision import (
    CheckResult,
    Checks,
    Decision,
    Outcome,
    Reason,
    Sizing,
    Told,
)
from trade_engine.domain.limits import SIGNAL_AGE
from trade_engine.domain.market import Instrument
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import Order, OrderPolicy, OrdType, TimeInForce, order_id_for
from trade_engine.domain.replacement import Terms
from trade_engine.domain.signal import Signal, TimeHorizon
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.risk.activity import (
    check_account_rate,
    check_confidence,
    check_duplicate,
    check_open_orders,
    check_repeated_executions,
    check_strategy_rate,
    check_turnover,
)
from trade_engine.risk.books import check_books
from trade_engine.risk.case import Case, Ceiling, at_most, open_case
from trade_engine.risk.collar import check_price_collar, check_slippage
from trade_engine.risk.concentration import (
    check_asset_class_exposure,
    check_asset_concentration,
    check_asset_exposure,
    check_symbol_position,
)
from trade_engine.risk.leverage import (
    check_buying_power,
    check_gross_exposure,
    check_leverage,
    check_net_exposure,
)
from trade_engine.risk.loss_limits import check_daily_loss, check_drawdown
from trade_engine.risk.market_data import check_equity, check_marks, check_quote
from trade_engine.risk.order_size import (
    check_opposite_order,
    check_order_notional,
    check_order_notional_first,
    check_order_quantity,
    check_short_sale,
)
from trade_engine.risk.permissions import (
    check_currency,
    check_instrument,
    check_restricted,
    check_strategy,
)
from trade_engine.risk.price import MS_PER_NS
from trade_engine.risk.sizing import Sized
from trade_engine.risk.standing import Replaceable
from trade_engine.risk.trading_hours import check_session
from trade_engine.risk.view import Inputs

Check = Callable[[Case], Told | None]

_AHEAD_NS = -FUTURE_TOLERANCE_NS
_SIGNAL_AGE = Ceiling("signal_age", SIGNAL_AGE, Reason.SIGNAL_STALE)
_REJECTED, _NO_ACTION, _APPROVED = Outcome.REJECTED, Outcome.NO_ACTION, Outcome.APPROVED
_LIMIT, _IOC = OrdType.LIMIT, OrderPolicy.IOC


def decide(inputs: Inputs) -> Decision:
    """Judge one signal. Pure: the same inputs always give the same decision.

    REJECTED when any check fails; NO_ACTION when all pass and there is nothing to order (or only
    in the direction that `side` forbids); else APPROVED with the order, or with the new terms of
    one that works.
    """
    case = open_case(inputs)
    told, failed = judge(case, FIRST_CHECKS if inputs.view.standing is None else CHECKS)
    sized = case.sized
    decision = Decision(
        inputs.signal,
        _REJECTED,
        inputs.now_ns,
        inputs.limits_version,
        "",
        [],
        Checks(told),
        None if sized is None else sized.sizing,
    )
    if failed or sized is None:
        _reject(decision, failed)
    elif sized.no_action is not None:
        decision.outcome = _NO_ACTION
        decision.reasons = [sized.no_action]
        decision.message = NO_ACTION_MESSAGES[sized.no_action]
    else:
        decision.outcome = _APPROVED
        if sized.replaces is None:
            decision.order = _order(case, sized.sizing)
            decision.message = _approval(decision.order, sized.sizing)
        else:
            _replace(decision, sized, sized.replaces)
    return decision


def judge(case: Case, rules: tuple[Check, ...]) -> tuple[list[Told], list[CheckResult]]:
    """What every rule says of a case, and which of that is a failure; in order of precedence."""
    told: list[Told] = []
    failed: list[CheckResult] = []
    for check in rules:
        each = check(case)
        if each is None:
            continue
        told.append(each)
        if type(each) is CheckResult and not each.passed:
            failed.append(each)
    return told, failed


def _reject(decision: Decision, failed: list[CheckResult]) -> None:
    for result in failed:
        if result.reason is not None and result.reason not in decision.reasons:
            decision.reasons.append(result.reason)
    decision.message = "; ".join(result.message for result in failed)


NO_ACTION_MESSAGES = {
    Reason.AT_TARGET: "position and working orders are at the target within one lot",
    Reason.SIDE_MISMATCH: "reaching the target needs an order in the direction that side forbids",
    Reason.BELOW_LOT: "max_notional buys less than one lot",
}


def _replace(decision: Decision, sized: Sized, replaces: Replaceable) -> None:
    sizing, order_id = sized.sizing, replaces.order_id
    decision.replacement = Terms(
        order_id,
        replaces.cl_ord_id,
        sized.whole_quantity,
        sizing.limit_price,
        sized.cancels,
        sizing.fx_rate,
    )
    if sized.cancels:
        decision.message = f"cancel order {order_id}: nothing more of it is wanted"
        return
    capped = f", capped by {sizing.capped_by}" if sizing.capped_by else ""
    decision.message = (
        f"replace order {order_id}: {text(sizing.order_quantity)} left of "
        f"{text(sized.whole_quantity)} at {text(sizing.limit_price)} or better{capped}"
        f"{_rate(sizing)}"
    )


def _order(case: Case, sizing: Sizing) -> Order:
    inputs, signal, quantity = case.inputs, case.inputs.signal, sizing.order_quantity
    order = Order(
        order_id_for(signal.account_id, signal.signal_id),
        signal.account_id,
        signal.strategy_id,
        signal.symbol,
        signal.signal_id,
        signal.side,
        _LIMIT,
        time_in_force(signal, inputs.instrument),
        quantity,
        sizing.limit_price,
        inputs.broker,
        inputs.now_ns,
    )
    order.delivery = inputs.delivery
    order.leaves_qty = quantity
    order.updated_at_ns = inputs.now_ns
    order.fx_rate = sizing.fx_rate
    return order


def time_in_force(signal: Signal, instrument: Instrument | None) -> TimeInForce:
    """As the signal's horizon says, unless the instrument's orders never wait."""
    if instrument is not None and instrument.order_policy is _IOC:
        return TimeInForce.IOC
    return TIME_IN_FORCE[signal.time_horizon]


TIME_IN_FORCE = {
    TimeHorizon.INTRADAY: TimeInForce.DAY,
    TimeHorizon.SWING: TimeInForce.GTC,
    TimeHorizon.LONG: TimeInForce.GTC,
}


def _approval(order: Order, sizing: Sizing) -> str:
    capped = f", capped by {sizing.capped_by}" if sizing.capped_by else ""
    quantity, price = text(order.order_qty), text(sizing.limit_price)
    return f"{order.side!s} {quantity} {order.symbol} at {price} or better{capped}{_rate(sizing)}"


def _rate(sizing: Sizing) -> str:
    if sizing.fx_rate is None:
        return ""
    return f", a {sizing.currency} counted as {text(sizing.fx_rate)}"


# ---- trading state --------------------------------------------------------------------------


def check_trading_state(case: Case) -> Told:
    """HALTED refuses everything; REDUCE_ONLY lets through what only closes a position.

    Where more than one strategy is told to reduce, an order must close for the account as well:
    where another one holds the opposite, it would open or flip what the account holds. An operator
    who closes all of a scope closes each strategy's position.
    Source: RTS 6 Art. 12, FIA 2024 1.5 (kill switch).
    """
    trading = case.view.trading
    if trading is None or trading.state is TradingState.ACTIVE:
        return "trading_state", case.account_scope, "state", "", None, None, None
    scope = str(trading.scope)
    halted = trading.state is TradingState.HALTED
    if not halted and _only_reduces(case, trading.scope):
        return "trading_state", scope, "state", scope, None, None, None
    allowed = "no order" if halted else "only orders that close a position"
    return CheckResult(
        "trading_state",
        passed=False,
        scope=scope,
        unit="state",
        reason=Reason.TRADING_HALTED if halted else Reason.REDUCE_ONLY,
        source=scope,
        message=f"trading is {trading.state} for {scope} ({trading.reason}, by "
        f"{trading.operator}): {allowed} may be sent",
    )


def _only_reduces(case: Case, scope: Scope) -> bool:
    if case.sized is None:
        return False
    own = scope.kind is ScopeKind.STRATEGY or case.inputs.closing
    return case.sizing is None or (case.closes and (own or case.closes_for_account))


# ---- what the signal names, and when --------------------------------------------------------


def check_signal_age(case: Case) -> Told:
    """Refuse a signal older than signal_age_ms_max.

    A create_time ahead of the engine's clock by more than a second is not believed. Without a
    create_time its age is 0.
    """
    signal, now_ns = case.inputs.signal, case.inputs.now_ns
    age_ns = 0 if signal.created_at_ns is None else now_ns - signal.created_at_ns
    scope = case.strategy_scope
    if age_ns < _AHEAD_NS:
        ahead_ms = -age_ns * MS_PER_NS
        return CheckResult(
            "signal_age",
            passed=False,
            scope=scope,
            unit="ms",
            reason=Reason.SIGNAL_FROM_FUTURE,
            limit=FUTURE_TOLERANCE_NS * MS_PER_NS,
            observed=ahead_ms,
            message=f"create_time is {text(ahead_ms)} ms ahead of the engine's clock",
        )
    age_ms = age_ns * MS_PER_NS if age_ns > 0 else ZERO
    return at_most(_SIGNAL_AGE, case, scope, None, age_ms)


# ---- in order of precedence -----------------------------------------------------------------

CHECKS: tuple[Check, ...] = (
    check_trading_state,
    check_strategy,
    check_instrument,
    check_restricted,
    check_currency,
    check_signal_age,
    check_duplicate,
    check_strategy_rate,
    check_account_rate,
    check_confidence,
    check_quote,
    check_session,
    check_marks,
    check_equity,
    check_books,
    check_slippage,
    check_price_collar,
    check_short_sale,
    check_opposite_order,
    check_order_quantity,
    check_order_notional,
    check_symbol_position,
    check_asset_exposure,
    check_asset_concentration,
    check_asset_class_exposure,
    check_gross_exposure,
    check_net_exposure,
    check_leverage,
    check_buying_power,
    check_open_orders,
    check_turnover,
    check_daily_loss,
    check_drawdown,
    check_repeated_executions,
)
"""Every rule, in order of precedence."""

FIRST_CHECKS: tuple[Check, ...] = (
    check_trading_state,
    check_instrument,
    check_restricted,
    check_currency,
    check_signal_age,
    check_strategy_rate,
    check_quote,
    check_session,
    check_marks,
    check_equity,
    check_slippage,
    check_short_sale,
    check_order_notional_first,
    check_symbol_position,
    check_gross_exposure,
    check_daily_loss,
    check_drawdown,
)
"""The rules of decisions whose journal entry does not say how the account stood around the order:
they were made by these, and are decided again by these."""
