"""The order itself: what it may be worth, how much it may be, and what it may not meet."""

from __future__ import annotations

from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.domain.limits import ORDER_NOTIONAL, ORDER_QUANTITY
from trade_engine.domain.money import ZERO, text
from trade_engine.risk.case import Case, Ceiling, at_most

_QUANTITY = Ceiling("order_quantity", ORDER_QUANTITY, Reason.ORDER_QUANTITY_LIMIT)
_NOTIONAL = Ceiling("order_notional", ORDER_NOTIONAL, Reason.ORDER_NOTIONAL_LIMIT)


def check_short_sale(case: Case) -> Told | None:
    """What may not be sold short stays at 0 or above even if every working sell fills.

    It is judged on the account, over all strategies; working buys are not counted on.
    Source: SEC 15c3-5 (c)(2)(i).
    """
    instrument, view = case.inputs.instrument, case.view
    if instrument is None or instrument.shortable or not case.more_sell:
        return None
    observed = view.symbol_quantity - view.symbol_working_sell
    projected = observed - case.more_sell
    scope = case.symbol_scope
    if projected >= ZERO:
        return "short_sale", scope, "units", "", ZERO, observed, projected
    return CheckResult(
        "short_sale",
        passed=False,
        scope=scope,
        unit="units",
        reason=Reason.NOT_SHORTABLE,
        limit=ZERO,
        observed=observed,
        projected=projected,
        message=f"{instrument.symbol} may not be sold short: selling {text(case.more_sell)} with "
        f"{text(observed)} left to sell would leave {text(projected)}",
    )


def check_opposite_order(case: Case) -> Told | None:
    """A strategy may not trade against an order of its own that still works in the symbol.

    Both could fill, and one would undo the other at a cost (a wash). The order is named.
    Source: SEC 15c3-5 (c)(2)(i), FINRA 5210. Unit: none.
    """
    standing = case.standing
    if standing is None:
        return None
    opposite, scope = standing.opposite_order_id, case.strategy_scope
    if not opposite:
        return "opposite_order", scope, "orders", "", None, None, None
    return CheckResult(
        "opposite_order",
        passed=False,
        scope=scope,
        unit="orders",
        reason=Reason.OPPOSITE_ORDER,
        message=f"order {opposite} of {scope} works on the other side of "
        f"{case.inputs.signal.symbol}: cancel it, or wait until it is done",
    )


def check_order_quantity(case: Case) -> Told | None:
    """Units of one order, at most order_quantity_max (RTS 6 Art. 15(1)(c), FIA 2024 1.1)."""
    if case.sizing is None:
        return None
    quantity = case.whole_quantity
    result = at_most(_QUANTITY, case, case.symbol_scope, None, quantity)
    if type(result) is CheckResult and result.limit is not None and case.closes:
        most = result.limit * case.whole_notional
        steps = most // quantity
        result.message += _in_steps(text(steps))
    return result


def check_order_notional(case: Case) -> Told | None:
    """Order value at its worst price, at most order_notional_max (RTS 6 Art. 15(1)(b)).

    A limit refuses and never resizes, not even what closes: a refusal of that says how to close
    in steps.
    """
    if case.sizing is None:
        return None
    result = at_most(_NOTIONAL, case, case.symbol_scope, None, case.whole_notional)
    if type(result) is CheckResult and result.limit is not None and case.closes:
        result.message += _in_steps(text(result.limit))
    return result


def check_order_notional_first(case: Case) -> Told | None:
    """The same as it was first told: it did not say how to close in steps."""
    if case.sizing is None:
        return None
    return at_most(_NOTIONAL, case, case.symbol_scope, None, case.whole_notional)


def _in_steps(most: str) -> str:
    return (
        f"; to close in steps, send signals with the same target and a max_notional of at most "
        f"{most}"
    )
