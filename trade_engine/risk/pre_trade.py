"""The gate's rules: what a signal must pass to become an order.

`decide` computes a decision from values: the signal, the account's state, the limits, the quote,
the clock. It reads nothing else, so that the same inputs give the same decision for ever.

Each check is one small function from a case to its verdict; None means that it has nothing to
judge (no order, or no price to judge it by, which another check refuses). `CHECKS` lists them in
order of precedence: all failures are reported, the first one leads.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.decision import CheckResult, Decision, Outcome, Reason
from trade_engine.domain.limits import (
    GROSS_EXPOSURE,
    ORDER_NOTIONAL,
    QUOTE_AGE,
    SIGNAL_AGE,
    SLIPPAGE,
    STRATEGY_RATE,
    SYMBOL_POSITION,
)
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import Order, OrdType, TimeInForce, order_id_for
from trade_engine.domain.signal import ExposureUnit, TimeHorizon
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.risk.case import Case, at_most, not_set, open_case, slippage_asked
from trade_engine.risk.loss_limits import check_daily_loss, check_drawdown
from trade_engine.risk.price import MS_PER_NS, quote_age_ms
from trade_engine.risk.trading_hours import check_session
from trade_engine.risk.view import Inputs

FUTURE_TOLERANCE_NS = NS_PER_S
"""How far a sender's clock may run ahead of ours before its create_time is not believed."""


def decide(inputs: Inputs) -> Decision:
    """Judge one signal. Pure: the same inputs always give the same decision.

    REJECTED when any check fails; NO_ACTION when all pass and there is nothing to order (or only
    in the direction that `side` forbids); else APPROVED with the order.
    """
    case = open_case(inputs)
    checks = [result for check in CHECKS if (result := check(case)) is not None]
    failed = [result for result in checks if not result.passed]
    decision = Decision(
        signal=inputs.signal,
        outcome=Outcome.REJECTED,
        decided_at_ns=inputs.now_ns,
        limits_version=inputs.limits_version,
        message="",
        checks=checks,
        sizing=case.sized.sizing if case.sized else None,
    )
    if failed or case.sized is None:
        _reject(decision, failed)
    elif case.sized.no_action is not None:
        decision.outcome = Outcome.NO_ACTION
        decision.reasons = [case.sized.no_action]
        decision.message = NO_ACTION_MESSAGES[case.sized.no_action]
    else:
        decision.outcome = Outcome.APPROVED
        decision.order = _order(case)
        decision.message = _approval(decision.order, case)
    return decision


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


def _order(case: Case) -> Order:
    signal, sized = case.inputs.signal, case.sized
    assert sized is not None  # noqa: S101  decide() approves only what was sized
    return Order(
        order_id=order_id_for(signal.account_id, signal.signal_id),
        account_id=signal.account_id,
        strategy_id=signal.strategy_id,
        symbol=signal.symbol,
        signal_id=signal.signal_id,
        side=signal.side,
        ord_type=OrdType.LIMIT,
        time_in_force=TIME_IN_FORCE[signal.time_horizon],
        order_qty=sized.sizing.order_quantity,
        price=sized.sizing.limit_price,
        broker=case.inputs.broker,
        delivery=case.inputs.delivery,
        created_at_ns=case.inputs.now_ns,
        leaves_qty=sized.sizing.order_quantity,
        updated_at_ns=case.inputs.now_ns,
    )


TIME_IN_FORCE = {
    TimeHorizon.INTRADAY: TimeInForce.DAY,
    TimeHorizon.SWING: TimeInForce.GTC,
    TimeHorizon.LONG: TimeInForce.GTC,
}


def _approval(order: Order, case: Case) -> str:
    sizing = case.sized.sizing if case.sized else None
    capped = f", capped by {sizing.capped_by}" if sizing and sizing.capped_by else ""
    price = text(order.price) if order.price is not None else "market"
    return f"{order.side} {text(order.order_qty)} {order.symbol} at {price} or better{capped}"


# ---- trading state --------------------------------------------------------------------------


def check_trading_state(case: Case) -> CheckResult:
    """HALTED refuses everything; REDUCE_ONLY lets through what only closes a position.

    Where more than one strategy is told to reduce, closing must not open for the account either.
    Source: RTS 6 Art. 12, FIA 2024 1.5 (kill switch).
    """
    trading = case.inputs.view.trading
    if trading is None or trading.state is TradingState.ACTIVE:
        return CheckResult("trading_state", True, case.account_scope, "state")
    scope = str(trading.scope)
    halted = trading.state is TradingState.HALTED
    passed = not halted and _only_reduces(case, trading.scope)
    result = CheckResult("trading_state", passed, scope, "state", source=scope)
    if not passed:
        result.reason = Reason.TRADING_HALTED if halted else Reason.REDUCE_ONLY
        allowed = "no order" if halted else "only orders that close a position"
        result.message = (
            f"trading is {trading.state} for {scope} ({trading.reason}, by {trading.operator}): "
            f"{allowed} may be sent"
        )
    return result


def _only_reduces(case: Case, scope: Scope) -> bool:
    if case.sized is None:
        return False
    own = scope.kind is ScopeKind.STRATEGY
    return not case.has_order or (case.closes and (own or not case.grows))


# ---- what the signal names, and when --------------------------------------------------------


def check_instrument(case: Case) -> CheckResult:
    """The symbol must be a configured instrument."""
    known = case.inputs.instrument is not None
    symbol = case.inputs.signal.symbol
    result = CheckResult("instrument", known, case.symbol_scope, "instrument")
    if not known:
        result.reason = Reason.INSTRUMENT_UNKNOWN
        result.message = f"{symbol} is not in the instruments file"
    return result


def check_restricted(case: Case) -> CheckResult | None:
    """Nothing may be ordered in an instrument of the restricted list, not even to close.

    Source: SEC 15c3-5 (c)(2)(ii).
    """
    instrument = case.inputs.instrument
    if instrument is None:
        return None
    result = CheckResult("restricted", not instrument.restricted, case.symbol_scope, "instrument")
    if instrument.restricted:
        result.reason = Reason.INSTRUMENT_RESTRICTED
        result.message = f"{instrument.symbol} is restricted: no order in it may be sent"
    return result


def check_currency(case: Case) -> CheckResult | None:
    """Exposures are added up without an exchange rate: one currency has to do for all."""
    instrument, currency = case.inputs.instrument, case.inputs.currency
    if instrument is None:
        return None
    same = instrument.currency == currency
    result = CheckResult("currency", same, case.symbol_scope, "currency")
    if not same:
        result.reason = Reason.CURRENCY_MISMATCH
        result.message = (
            f"{instrument.symbol} trades in {instrument.currency} and the account counts in "
            f"{currency}: nothing is converted"
        )
    return result


def check_signal_age(case: Case) -> CheckResult:
    """Refuse a signal older than signal_age_ms_max.

    A create_time ahead of the engine's clock by more than a second is not believed. Without a
    create_time its age is 0.
    """
    signal, now_ns = case.inputs.signal, case.inputs.now_ns
    age_ns = 0 if signal.created_at_ns is None else now_ns - signal.created_at_ns
    scope = case.strategy_scope
    if age_ns < -FUTURE_TOLERANCE_NS:
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
    age_ms = max(age_ns, 0) * MS_PER_NS
    return at_most("signal_age", SIGNAL_AGE, Reason.SIGNAL_STALE, case, scope, None, age_ms)


def check_strategy_rate(case: Case) -> CheckResult:
    """A strategy may send so many signals a period (RTS 6 Art. 15(1)(d); GCRA)."""
    throttle, scope = case.inputs.throttle, case.strategy_scope
    if throttle.rate is None:
        return not_set("strategy_rate", STRATEGY_RATE, scope, "signals")
    if throttle.rate.is_waived:
        source = throttle.rate.source
        return CheckResult("strategy_rate", passed=True, scope=scope, unit="signals", source=source)
    result = CheckResult(
        "strategy_rate",
        throttle.allowed,
        scope,
        "signals",
        limit=Decimal(throttle.rate.burst + 1),
        observed=Decimal(throttle.remaining),
        source=throttle.rate.source,
    )
    if not throttle.allowed:
        result.reason = Reason.STRATEGY_THROTTLED
        wait_ms = text(throttle.retry_after_ns * MS_PER_NS)
        result.message = f"{scope} sends faster than its rate allows; next in {wait_ms} ms"
    return result


# ---- quotes ---------------------------------------------------------------------------------


def check_quote(case: Case) -> CheckResult:
    """There must be a quote, sane (positive, not crossed) and no older than quote_age_ms_max."""
    inputs, scope = case.inputs, case.symbol_scope
    quote = inputs.quote
    if quote is None:
        return CheckResult(
            "quote",
            passed=False,
            scope=scope,
            unit="ms",
            reason=Reason.QUOTE_MISSING,
            message=f"no quote of {inputs.signal.symbol} is known",
        )
    fault = case.quote_fault
    if fault is not None:
        return CheckResult(
            "quote",
            passed=False,
            scope=scope,
            unit="ms",
            reason=Reason.QUOTE_INVALID,
            message=f"the quote of {quote.symbol} from {quote.source} is unusable: {fault}",
        )
    age_ms = quote_age_ms(quote, inputs.now_ns)
    return at_most("quote", QUOTE_AGE, Reason.QUOTE_STALE, case, scope, None, age_ms)


def check_marks(case: Case) -> CheckResult | None:
    """Whatever else is held or working must have a usable price, or exposure is unknown.

    An order that does not let the account's exposure grow needs no such price.
    """
    missing = case.inputs.view.missing_marks
    if not missing or not case.grows:
        return None
    named = ", ".join(missing)
    return CheckResult(
        "marks",
        passed=False,
        scope=case.account_scope,
        unit="symbols",
        reason=Reason.MARK_MISSING,
        observed=Decimal(len(missing)),
        message=f"exposure is unknown: no usable quote of {named}",
    )


def check_equity(case: Case) -> CheckResult | None:
    """A target given as a fraction of equity needs an equity that is known and positive."""
    signal, equity = case.inputs.signal, case.inputs.view.equity
    if signal.exposure_unit is ExposureUnit.NOTIONAL:
        return None
    known = equity is not None and equity > 0
    result = CheckResult("equity", known, case.account_scope, case.inputs.currency, observed=equity)
    if not known:
        result.reason = Reason.EQUITY_UNKNOWN
        result.message = "equity is not known or not positive, so a fraction of it means nothing"
    return result


# ---- the order ------------------------------------------------------------------------------


def check_slippage(case: Case) -> CheckResult:
    """The slippage that the strategy allows may not be wider than the engine's collar.

    Nor so narrow that no price on the tick lies within it.
    Source: RTS 6 Art. 15(1)(a), FIA 2024 1.3 (price tolerance).
    """
    asked = slippage_asked(case.inputs) or ZERO
    scope, reason = case.symbol_scope, Reason.SLIPPAGE_LIMIT
    result = at_most("slippage", SLIPPAGE, reason, case, scope, None, asked)
    if result.passed and case.sized is not None and case.has_order:
        sizing = case.sized.sizing
        if not sizing.limit_price:
            result.passed, result.reason = False, reason
            result.message = (
                f"the reference price {text(sizing.reference_price)} plus {text(asked)} bps is "
                f"less than one tick of {case.inputs.signal.symbol}: there is no price to buy at"
            )
    return result


def check_short_sale(case: Case) -> CheckResult | None:
    """What may not be sold short stays at 0 or above even if every working sell fills.

    It is judged on the account, over all strategies; working buys are not counted on.
    Source: SEC 15c3-5 (c)(2)(i).
    """
    instrument, view = case.inputs.instrument, case.inputs.view
    if instrument is None or instrument.shortable or not case.more_sell:
        return None
    observed = view.symbol_quantity - view.symbol_working_sell
    projected = observed - case.more_sell
    result = CheckResult(
        "short_sale",
        projected >= 0,
        case.symbol_scope,
        "units",
        limit=ZERO,
        observed=observed,
        projected=projected,
    )
    if projected < 0:
        result.reason = Reason.NOT_SHORTABLE
        result.message = (
            f"{instrument.symbol} may not be sold short: selling {text(case.more_sell)} with "
            f"{text(observed)} left to sell would leave {text(projected)}"
        )
    return result


def check_order_notional(case: Case) -> CheckResult | None:
    """Order value at its worst price, at most order_notional_max (RTS 6 Art. 15(1)(b))."""
    if case.sized is None or not case.has_order:
        return None
    return at_most(
        "order_notional",
        ORDER_NOTIONAL,
        Reason.ORDER_NOTIONAL_LIMIT,
        case,
        case.symbol_scope,
        None,
        case.sized.sizing.order_notional,
    )


def check_symbol_position(case: Case) -> CheckResult | None:
    """Position plus working orders of the account in the symbol, worst case per side, in money.

    Source: FIA 2024 1.2 (maximum intraday position counts working orders).
    """
    if not case.has_order:
        return None
    return at_most(
        "symbol_position",
        SYMBOL_POSITION,
        Reason.SYMBOL_POSITION_LIMIT,
        case,
        case.symbol_scope,
        case.value_before,
        case.value_after,
        may_shrink=True,
    )


def check_gross_exposure(case: Case) -> CheckResult | None:
    """Worst-case value over all symbols of the account (SEC 15c3-5 (c)(1)(i))."""
    if not case.has_order:
        return None
    elsewhere = case.inputs.view.other_gross
    return at_most(
        "gross_exposure",
        GROSS_EXPOSURE,
        Reason.GROSS_EXPOSURE_LIMIT,
        case,
        case.account_scope,
        elsewhere + case.value_before,
        elsewhere + case.value_after,
        may_shrink=True,
    )


CHECKS: tuple[Callable[[Case], CheckResult | None], ...] = (
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
    check_order_notional,
    check_symbol_position,
    check_gross_exposure,
    check_daily_loss,
    check_drawdown,
)
"""Every rule, in order of precedence."""
