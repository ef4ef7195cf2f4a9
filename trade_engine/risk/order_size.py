"""The order itself: what it may be worth, how much it may be, and what it may not meet."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.domain.limits import ORDER_NOTIONAL, ORDER_QUANTITY
from trade_engine.domain.money import ZERO, text
from trade_engine.risk.case import Case, Ceiling, at_most
from trade_engine.risk.sizing import Sized

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


def check_opposite_order(case: Case) -> Told | None:
    """A strategy may not trade against an order of its own that still works in the symbol.

    Both could fill, and one would undo the other at a cost (a wash). The order is named.
    Source: SEC 15c3-5 (c)(2)(i), FINRA 5210. Unit: none.
    """
    standing = case.standing
    if standing is None or not case.has_order:
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
    if case.sized is None or not case.has_order:
        return None
    quantity = case.sized.whole_quantity
    result = at_most(_QUANTITY, case, case.symbol_scope, None, quantity)
    if type(result) is CheckResult and result.limit is not None and case.closes:
        most = result.limit * _whole_notional(case.sized)
        steps = most // quantity
        result.message += _in_steps(text(steps))
    return result


def check_order_notional(case: Case) -> Told | None:
    """Order value at its worst price, at most order_notional_max (RTS 6 Art. 15(1)(b)).

    A limit refuses and never resizes, not even what closes: a refusal of that says how to close
    in steps.
    """
    result = check_order_notional_first(case)
    if type(result) is CheckResult and result.limit is not None and case.closes:
        result.message += _in_steps(text(result.limit))
    return result


def check_order_notional_first(case: Case) -> Told | None:
    """The same as it was first told: it did not say how to close in steps."""
    if case.sized is None or not case.has_order:
        return None
    return at_most(_NOTIONAL, case, case.symbol_scope, None, _whole_notional(case.sized))


def _whole_notional(sized: Sized) -> Decimal:
    """All of the order at its worst price, what a replaced one has filled included."""
    if sized.replaces is None:
        return sized.sizing.order_notional
    return sized.sizing.order_notional + sized.filled_notional


def _in_steps(most: str) -> str:
    return (
        f"; to close in steps, send signals with the same target and a max_notional of at most "
        f"{most}"
    )
