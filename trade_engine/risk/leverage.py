"""How much in all: gross and net exposure, leverage, buying power; worst case, in money."""

from __future__ import annotations

from trade_engine.domain.decision import Reason, Told
from trade_engine.domain.limits import BORROWING, GROSS_EXPOSURE, LEVERAGE, NET_EXPOSURE
from trade_engine.domain.money import ZERO
from trade_engine.risk.case import Case, at_most, at_most_of_equity


def check_gross_exposure(case: Case) -> Told | None:
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
        True,  # may shrink
    )


def check_net_exposure(case: Case) -> Told | None:
    """Worst-case value long less short over all symbols, in either direction.

        longest  = sum of (position + working buys) * unit value
        shortest = sum of (working sells - position) * unit value
        net      = the larger of both

    Source: SEC 15c3-5 (c)(1)(i), RTS 6 Art. 17(4). Unit: account's currency.
    """
    view = case.inputs.view
    standing = view.standing
    if standing is None or not case.has_order:
        return None
    unit = case.unit_value
    longest = standing.net_long + (view.symbol_quantity + view.symbol_working_buy) * unit
    shortest = standing.net_short + (view.symbol_working_sell - view.symbol_quantity) * unit
    if case.more_buy:
        projected = max(longest + case.more_buy * unit, shortest)
    else:
        projected = max(longest, shortest + case.more_sell * unit)
    return at_most(
        "net_exposure",
        NET_EXPOSURE,
        Reason.NET_EXPOSURE_LIMIT,
        case,
        case.account_scope,
        max(longest, shortest),
        projected,
        True,  # may shrink
    )


def check_leverage(case: Case) -> Told | None:
    """Gross exposure, at most leverage_max times equity.

        worst-case value over all symbols <= leverage_max * equity

    Source: RTS 6 Art. 15(4), SEC 15c3-5 (c)(1)(i). Unit: account's currency.
    """
    view = case.inputs.view
    if view.standing is None or not case.has_order:
        return None
    return at_most_of_equity(
        "leverage",
        LEVERAGE,
        Reason.LEVERAGE_LIMIT,
        case,
        case.account_scope,
        view.other_gross + case.value_before,
        view.other_gross + case.value_after,
    )


def check_buying_power(case: Case) -> Told | None:
    """What working buys and buying back shorts may cost beyond the cash, at most borrowing_max.

        needed   = sum over symbols of the larger of working buys and what is short, in money
        borrowed = needed - cash, 0 if that is negative

    A buy that covers a short needs no more than the short did. What short sales bring in is cash
    that buying them back needs, so it buys nothing else.
    Source: SEC 15c3-5 (c)(1)(i). Unit: account's currency.
    """
    view = case.inputs.view
    standing = view.standing
    if standing is None or not case.has_order:
        return None
    unit, short, buys = case.unit_value, -view.symbol_quantity, view.symbol_working_buy
    elsewhere = standing.funds - standing.cash
    observed = elsewhere + max(buys, short, ZERO) * unit
    projected = elsewhere + max(buys + case.more_buy, short, ZERO) * unit
    return at_most(
        "buying_power",
        BORROWING,
        Reason.BUYING_POWER,
        case,
        case.account_scope,
        max(observed, ZERO),
        max(projected, ZERO),
        True,  # may shrink
    )
