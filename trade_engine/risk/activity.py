"""How much and how often: equal orders, rates, open orders, the day's turnover, repetition."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.activity import APPROVALS_MAX, Approval
from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.domain.limits import (
    ACCOUNT_RATE,
    CONFIDENCE,
    DUPLICATE_INTERVAL,
    OPEN_ORDERS,
    REPEATED_EXECUTIONS,
    STRATEGY_RATE,
    TURNOVER,
    Limit,
)
from trade_engine.domain.money import ZERO, text, whole
from trade_engine.risk.case import Case, Ceiling, at_most, not_set
from trade_engine.risk.price import MS_PER_NS
from trade_engine.risk.view import Throttle

_OPEN_ORDERS = Ceiling("open_orders", OPEN_ORDERS, Reason.OPEN_ORDERS_LIMIT, may_shrink=True)
_TURNOVER = Ceiling("turnover", TURNOVER, Reason.TURNOVER_LIMIT, may_shrink=True)
_REPEATED = Ceiling("repeated_executions", REPEATED_EXECUTIONS, Reason.REPEATED_EXECUTIONS_LIMIT)
_DUPLICATE, _CONFIDENCE = DUPLICATE_INTERVAL.name, CONFIDENCE.name
_STRATEGY_THROTTLED, _ACCOUNT_THROTTLED = Reason.STRATEGY_THROTTLED, Reason.ACCOUNT_THROTTLED


def check_duplicate(case: Case) -> Told | None:
    """An order equal to an earlier one is refused for duplicate_interval_ms_min.

    Equal: of the same strategy, symbol, side and quantity. The time is that between both
    decisions; an approval ahead of this replica's clock counts as made now. New terms for a working
    order are no second order, and are not judged. Where the account approved more within that time
    than is remembered, an order is refused.
    Source: SEC 15c3-5 (c)(1)(ii). Unit: ms.
    """
    standing, sized = case.standing, case.sized
    if standing is None or sized is None or sized.replaces is not None:
        return None
    scope = case.strategy_scope
    try:
        limit = case.limits[_DUPLICATE]
    except KeyError:
        return not_set("duplicate", _DUPLICATE, scope, "ms")
    age_ms = _age_of_equal_ms(case, standing.approvals) if standing.approvals else None
    if age_ms is None or age_ms >= limit.value:
        if standing.forgotten_ns and _age_ms(case, standing.forgotten_ns) < limit.value:
            return _forgotten(case, limit)
        return "duplicate", scope, "ms", limit.source, limit.number, age_ms, None
    signal, quantity = case.inputs.signal, case.more_buy or case.more_sell
    return CheckResult(
        "duplicate",
        passed=False,
        scope=scope,
        unit="ms",
        reason=Reason.DUPLICATE_ORDER,
        limit=limit.number,
        observed=age_ms,
        source=limit.source,
        message=f"{signal.side} {text(quantity)} {signal.symbol} was ordered {text(age_ms)} ms "
        f"ago: equal orders are at least {text(limit.value)} ms apart ({limit.source})",
    )


def _age_of_equal_ms(case: Case, approvals: list[Approval]) -> Decimal | None:
    """How long ago the last equal order was approved."""
    side, quantity, last_ns = case.inputs.signal.side, case.whole_quantity, None
    for each in approvals:
        if (
            each.side is side
            and each.quantity == quantity
            and (last_ns is None or each.at_ns > last_ns)
        ):
            last_ns = each.at_ns
    return None if last_ns is None else _age_ms(case, last_ns)


def _age_ms(case: Case, at_ns: int) -> Decimal:
    return max(case.inputs.now_ns - at_ns, 0) * MS_PER_NS


def _forgotten(case: Case, limit: Limit) -> CheckResult:
    """So many were approved within the interval that the first of them are not remembered."""
    return CheckResult(
        "duplicate",
        passed=False,
        scope=case.strategy_scope,
        unit="ms",
        reason=Reason.DUPLICATES_UNKNOWN,
        limit=limit.number,
        source=limit.source,
        message=f"more than {APPROVALS_MAX} different orders of the account were approved within "
        f"{text(limit.value)} ms ({limit.source}): whether an equal one was is not known",
    )


def check_strategy_rate(case: Case) -> Told:
    """A strategy may send so many signals a period (RTS 6 Art. 15(1)(d); GCRA)."""
    return _rate(
        "strategy_rate",
        STRATEGY_RATE,
        case.inputs.throttle,
        _STRATEGY_THROTTLED,
        case.strategy_scope,
    )


def check_account_rate(case: Case) -> Told | None:
    """All strategies of an account together may send so many signals a period.

    Source: RTS 6 Art. 15(1)(d); GCRA. Unit: signals.
    """
    throttle = case.inputs.account_throttle
    if throttle is None:
        return None
    return _rate("account_rate", ACCOUNT_RATE, throttle, _ACCOUNT_THROTTLED, case.account_scope)


def _rate(name: str, limit_name: str, throttle: Throttle, reason: Reason, scope: str) -> Told:
    rate = throttle.rate
    if rate is None:
        return not_set(name, limit_name, scope, "signals")
    if not rate.count:  # waived
        return name, scope, "signals", rate.source, None, None, None
    most, remaining = rate.at_once, whole(throttle.remaining)
    if throttle.allowed:
        return name, scope, "signals", rate.source, most, remaining, None
    wait_ms = text(throttle.retry_after_ns * MS_PER_NS)
    return CheckResult(
        name,
        passed=False,
        scope=scope,
        unit="signals",
        reason=reason,
        limit=most,
        observed=remaining,
        source=rate.source,
        message=f"{scope} sends faster than its rate allows; next in {wait_ms} ms",
    )


def check_confidence(case: Case) -> Told:
    """A signal needs at least confidence_min, but for an order that only closes.

    Unit: the strategy's own confidence, from 0 to 1.
    """
    scope = case.strategy_scope
    try:
        limit = case.limits[_CONFIDENCE]
    except KeyError:
        return not_set("confidence", _CONFIDENCE, scope, "confidence")
    confidence = case.inputs.signal.confidence
    if confidence >= limit.value or case.reduces:
        return "confidence", scope, "confidence", limit.source, limit.number, confidence, None
    return CheckResult(
        "confidence",
        passed=False,
        scope=scope,
        unit="confidence",
        reason=Reason.CONFIDENCE_LOW,
        limit=limit.number,
        observed=confidence,
        source=limit.source,
        message=f"a confidence of {text(confidence)} is less than confidence_min asks, "
        f"{text(limit.value)} for {scope} ({limit.source})",
    )


def check_open_orders(case: Case) -> Told | None:
    """Open orders of the account, this one among them, at most open_orders_max.

    An order counts until its broker says that it is closed, in-doubt ones too.
    Source: RTS 6 Art. 15(2). Unit: orders.
    """
    standing, sized = case.standing, case.sized
    if standing is None or sized is None:
        return None
    number = standing.open_orders
    observed = whole(number)
    projected = observed if sized.replaces is not None else whole(number + 1)
    return at_most(_OPEN_ORDERS, case, case.account_scope, observed, projected)


def check_turnover(case: Case) -> Told | None:
    """The day's turnover, at most turnover_day_max.

        turnover = value of the day's fills + value of all working orders + this order's

    Fills count at their prices, working orders at the reference, this order at its worst price.
    Source: SEC 15c3-5 (c)(1)(i), (ii) "over a short period of time". Unit: account's currency.
    """
    standing, view, sized = case.standing, case.view, case.sized
    if standing is None or sized is None:
        return None
    working = (view.symbol_working_buy + view.symbol_working_sell) * case.unit_value
    observed = standing.traded + standing.working + working
    added = sized.sizing.order_notional
    if sized.replaces is not None:
        added = max(added - sized.replaces.leaves_qty * case.unit_value, ZERO)
    return at_most(_TURNOVER, case, case.account_scope, observed, observed + added)


def check_repeated_executions(case: Case) -> Told | None:
    """Orders of a strategy since an operator last enabled it, at most repeated_executions_max.

    Beyond that the strategy is disabled, closing included, until somebody resumes it.
    Source: RTS 6 Art. 15(3). Unit: orders.
    """
    standing = case.standing
    if standing is None:
        return None
    number = standing.executions
    result = at_most(_REPEATED, case, case.strategy_scope, whole(number), whole(number + 1))
    if type(result) is CheckResult and result.reason is _REPEATED.reason:
        result.message += "; an operator may resume it"
    return result
